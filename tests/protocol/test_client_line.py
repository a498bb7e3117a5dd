"""The router's word on a client: what is written is read back."""

import pytest
from hypothesis import given, strategies as st

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol.client_line import ClientLine, encode, parse

WORDS = st.from_regex(r"[0-9a-zA-Z.:%]+", fullmatch=True)
# No surrogates: percent-encoding is of UTF-8.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True)
CLIENTS = st.builds(
    ClientLine, host=st.just("") | WORDS, port=st.just("") | st.integers(1, 65535).map(str),
    scheme=st.sampled_from(("http", "https")), server=TEXTS.filter(lambda text: text != "-"),
    server_port=st.integers(1, 65535).map(str), tls=TEXTS.filter(lambda text: text != "-"),
    variables=st.dictionaries(NAMES, TEXTS, max_size=4))


@given(client=CLIENTS, rest=st.sampled_from(("", "Host: h\r\n", "Host: h\r\nA: b\r\n")))
def test_what_is_encoded_is_parsed(client: ClientLine, rest: str) -> None:
    line = encode(client)
    assert line.isascii() and line.isprintable()
    assert parse(f"{line}\r\n{rest}") == (client, rest)


@pytest.mark.parametrize("fields", [
    "", "\r\n", "Host: h\r\n", "Host: h\r\nGeventuwsgi-Client: 1.1.1.1 1 http h 80 -\r\n",
    "geventuwsgi-client: 1.1.1.1 1 http h 80 -\r\n", "Geventuwsgi-Client: \r\n",
    "Geventuwsgi-Client: 1.1.1.1 1 http h 80\r\n"])
def test_a_head_without_it_is_refused(fields: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(fields)
    assert caught.value.status == 400
