"""Bodies of requests: what is sent in other ways than by browsers, and damaged forms."""

import base64

import pytest

FORM = "multipart/form-data; boundary=edge"
PART = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'


def ask(serving, body: bytes, content_type: str = FORM):
    return serving.ask("POST", "/predict", body, {"Content-Type": content_type})


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", "nonsense;;="]
)
def test_any_other_type_of_content_is_the_bytes_of_one_image(serving, contents, content_type):
    assert ask(serving, contents[1], content_type).json["predictions"][0]["status"] == 200


def test_a_part_in_base64_is_decoded(serving, contents):
    head = PART + b"Content-Transfer-Encoding: base64\r\n\r\n"
    reply = ask(serving, head + base64.b64encode(contents[1]) + b"\r\n--edge--\r\n")
    assert reply.json["predictions"][0]["status"] == 200
    assert ask(serving, head + b"====\r\n--edge--\r\n").status in (400, 422)


def test_the_name_of_a_field_and_a_quoted_boundary_make_no_difference(serving, contents):
    body = PART.replace(b'"files"', b'"image"') + b"\r\n" + contents[1] + b"\r\n--edge--\r\n"
    reply = ask(serving, body, 'Multipart/Form-Data; charset="hex"; boundary="edge"')
    assert reply.json["predictions"][0]["status"] == 200


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"--edge--\r\n", 422, "The form has no files: send one or more, as in curl --form files=@cat.jpg."),
        (PART + b"\r\nx\r\n", 400, "The body is not valid multipart/form-data: it ends before its last boundary."),
        (b"", 400, "The body is not valid multipart/form-data: it ends before its last boundary."),
        (
            b'--edge\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://127.0.0.1/cat.jpg\r\n--edge--\r\n',
            422,
            'The field "url" of the form is not a file: send files only.',
        ),
    ],
)
def test_a_form_without_files_or_end_is_refused_with_a_sentence(serving, body, status, detail):
    reply = ask(serving, body)
    assert (reply.status, reply.json) == (status, {"detail": detail})


@pytest.mark.parametrize(
    "body",
    [
        b"text",
        b"--edge\r\n\r\ntext\r\n--edge--\r\n",
        b"--edge\r\nContent-Disposition: form-data\r\n\r\ntext\r\n--edge--\r\n",
        PART + b"Content-Transfer-Encoding: x\r\n\r\ntext\r\n--edge--\r\n",
        b"--edge\r\n" + b"x" * 10_000,
    ],
)
def test_a_damaged_form_is_refused(serving, body):
    reply = ask(serving, body)
    assert reply.status == 400
    assert reply.json["detail"].startswith("The body is not valid multipart/form-data: ")


@pytest.mark.parametrize("content_type", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 5_000}"])
def test_a_form_without_a_usable_boundary_is_refused(serving, content_type):
    assert ask(serving, PART, content_type).status == 400
