"""uWSGI's internal routing: what `route`, `error-route` and their kin do to a request.

Begin with `rules.py`, which compiles and follows the rules; `actions` and `response_filter`
are what they do, `variables` the placeholders in their texts. The grammar of a rule, with its
errors, is `config/options/rules.py`.
"""
