"""Pictures in the terminal are those that were given, in each protocol."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.io.terminal_pictures import choose_protocol, encode_for_terminal

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def picture_of(*rows):
    return np.array(rows, dtype=np.float32) / 255


def noise(height, width, channels=3):
    return np.random.default_rng(0).uniform(size=(height, width, channels)).astype(np.float32)


def test_two_pixels_share_a_character():
    shown = encode_for_terminal(picture_of([RED, GREEN], [BLUE, GREY]), "blocks", 80, 24).decode()
    assert shown == ("\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;255;0;48;2;128;128;128m▀\x1b[0m\n")


def test_what_is_transparent_is_the_terminal_itself():
    clear, solid = (9, 9, 9, 0), (255, 0, 0, 255)
    shown = encode_for_terminal(picture_of([clear, solid, clear], [solid, clear, clear]), "blocks", 80, 24).decode()
    assert shown == "\x1b[0;38;2;255;0;0m▄\x1b[0;38;2;255;0;0m▀\x1b[0m \x1b[0m\n"


def test_of_an_odd_number_of_rows_the_last_has_no_lower_half():
    assert encode_for_terminal(picture_of([RED]), "blocks", 80, 24).decode() == "\x1b[0;38;2;255;0;0m▀\x1b[0m\n"


@pytest.mark.parametrize(("height", "width", "expected"), [(100, 400, (10, 40)), (400, 100, (23, 12))])
def test_half_blocks_fit_the_terminal_and_keep_the_shape(height, width, expected):
    lines = encode_for_terminal(noise(height, width), "blocks", 40, 24).decode().splitlines()
    rows, columns = expected
    assert [len(lines), lines[0].count("▀")] == [-(-rows // 2) if rows < 20 else rows, columns]


def opened(payload):
    with Image.open(BytesIO(base64.b64decode(payload))) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [3, 4])
def test_kitty_is_sent_the_whole_picture_in_pieces(channels):
    image = noise(60, 50, channels)
    shown = encode_for_terminal(image, "kitty", 200, 60)
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown)
    assert all(len(payload) <= 4096 for _, payload in pieces)
    assert [control[-3:] for control, _ in pieces] == [*[b"m=1"] * (len(pieces) - 1), b"m=0"] or len(pieces) == 1
    np.testing.assert_array_equal(opened(b"".join(payload for _, payload in pieces)), np.rint(image * 255))


def test_iterm2_is_sent_the_whole_picture_and_its_size():
    image = noise(20, 30)
    name, payload = re.fullmatch(
        rb"\x1b\]1337;File=([^:]*):(.*)\a\n", encode_for_terminal(image, "iterm2", 80, 24)
    ).groups()
    assert dict(pair.split(b"=") for pair in name.split(b";")) == {
        b"inline": b"1", b"size": str(len(base64.b64decode(payload))).encode(), b"width": b"30px", b"height": b"20px",
    }  # fmt: skip
    np.testing.assert_array_equal(opened(payload), np.rint(image * 255))


def sixels(data):
    """The picture that a terminal makes of sixels: RGBA."""
    body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+);(\d+)(.*)\x1b\\\n', data.decode(), re.S)
    width, height = int(body[1]), int(body[2])
    canvas, palette = np.zeros((height + 6, width, 4)), {}
    column = band = 0
    for token in re.findall(r"#\d+(?:;\d+){0,4}|!\d+.|.", body[3]):
        if token[0] == "#" and ";" in token:
            number, _, *color = map(int, token[1:].split(";"))
            palette[number] = np.array([*color, 100]) / 100
        elif token[0] == "#":
            chosen = palette[int(token[1:])]
        elif token == "$":
            column = 0
        elif token == "-":
            column, band = 0, band + 6
        else:
            bits, count = ord(token[-1]) - 63, int(token[1:-1]) if token[0] == "!" else 1
            for row in range(6):
                if bits >> row & 1:
                    canvas[band + row, column : column + count] = chosen
            column += count
    return canvas[:height]


def test_sixels_show_the_picture_and_leave_out_what_is_transparent():
    image = np.zeros((13, 20, 4), dtype=np.float32)
    image[2:9, 3:15] = (1, 0, 0, 1)
    image[9:13, 3:15] = (0, 0.4, 1, 1)
    np.testing.assert_allclose(sixels(encode_for_terminal(image, "sixel", 80, 24)), image, atol=0.01)


def test_sixels_of_many_colors_are_near():
    image = np.linspace(0, 1, 24 * 31 * 3, dtype=np.float32).reshape(24, 31, 3)
    assert np.abs(sixels(encode_for_terminal(image, "sixel", 80, 24))[..., :3] - image).mean() < 0.01


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-sixel"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, "blocks"),
    ],
)
def test_the_environment_chooses_the_protocol(environment, protocol):
    assert choose_protocol(environment) == protocol


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}])
def test_a_terminal_without_colors_is_refused(environment):
    with pytest.raises(GatlasError, match="shows no pictures"):
        choose_protocol(environment)


def test_render_shows_pictures_one_below_the_other_where_standard_output_is_a_terminal(tmp_path):
    from gatlas import io
    from tests.helpers.splat_files import one_gaussian
    from tests.helpers.terminals import in_a_terminal

    io.save_gaussians(tmp_path / "one.ply", one_gaussian("one"))
    words = ["render", *["one.ply"] * 2, "--width", "32", "--inline"]
    sent, messages = in_a_terminal(words, tmp_path, columns=10, lines=20)
    assert messages.count("gatlas render: one.ply\n") == 2
    lines = sent.splitlines()
    assert [line.count("▀") for line in lines] == [10] * 5 * 2
    assert len(list(tmp_path.iterdir())) == 1
