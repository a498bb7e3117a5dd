"""uWSGI's internal routing: the options `route`, `error-route` and so on.

Start with `rules`, which compiles and applies the rules; `actions` and `response_filter` are
their effects, `variables` the placeholders in their texts. The rules were checked before, by
`config/options/rules.py`.
"""
