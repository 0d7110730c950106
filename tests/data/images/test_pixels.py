"""Files of pixels: every mode of picture, what is broken, and COCO's run lengths against its own decoder."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from jaxrec.data.images.pixels import (
    is_turned,
    read_numbers,
    read_picture,
    resize_picture,
    rle_decode,
    rle_encode,
    write_picture,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'LA', 'P', '1'])
def test_pngs_of_all_modes_become_colours(tmp_path, mode):
    picture = Image.fromarray(PIXELS).convert(mode)
    picture.save(tmp_path / 'a.png')
    found = read_picture(tmp_path / 'a.png')
    assert found.dtype == np.uint8 and found.shape == (9, 14, 3)
    np.testing.assert_array_equal(found, np.array(picture.convert('RGB')))


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_jpegs_of_all_modes_become_colours(tmp_path, mode):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / 'a.jpg')
    assert read_picture(tmp_path / 'a.jpg').shape == (9, 14, 3)


def test_a_turned_photograph_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(PIXELS).save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.png'), np.rot90(PIXELS, -1))
    Image.fromarray(PIXELS).save(tmp_path / 'b.png')
    assert is_turned(tmp_path / 'a.png') and not is_turned(tmp_path / 'b.png')
    assert not is_turned(tmp_path / 'none.png')
    exif[0x0112] = 99  # of which there is none
    Image.fromarray(PIXELS).save(tmp_path / 'c.png', exif=exif)
    assert not is_turned(tmp_path / 'c.png')
    np.testing.assert_array_equal(read_picture(tmp_path / 'c.png'), PIXELS)


def exif_of(*entries):
    """EXIF by hand: (tag, its type, how many values, four bytes) of each entry."""
    body = b''.join(struct.pack('<HHI', *entry[:3]) + entry[3] for entry in entries)
    return b'Exif\0\0II*\0' + struct.pack('<IH', 8, len(entries)) + body + bytes(4)


# A width and a resolution that are text.
@pytest.mark.parametrize('damaged', [(0x0100, 2, 4, b'abc\0'), (0x011A, 2, 4, b'abc\0')])
def test_a_photograph_of_damaged_exif_stays_as_it_lies(tmp_path, caplog, damaged):
    turned = (0x0112, 3, 1, b'\6\0\0\0')
    Image.fromarray(PIXELS).save(tmp_path / 'a.jpg', exif=exif_of(*sorted([damaged, turned])))
    with Image.open(tmp_path / 'a.jpg') as picture:
        want = np.array(picture)
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.jpg'), want)
    assert 'a.jpg is not turned upright: its EXIF is damaged' in caplog.text


@pytest.mark.parametrize('most', [200, 60_000])
def test_numbers_come_back(tmp_path, most):
    numbers = np.random.default_rng(1).integers(0, most, (5, 7))
    numbers[0, 0] = most
    write_picture(tmp_path / 'deep' / 'a.png', numbers)
    found = read_numbers(tmp_path / 'deep' / 'a.png')
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, numbers)


def test_a_palette_is_read_by_its_places(tmp_path):
    picture = Image.fromarray(np.array([[0, 3], [1, 2]], np.uint8)).convert('P')
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / 'a.png')
    assert read_numbers(tmp_path / 'a.png').tolist() == [[0, 3], [1, 2]]


@pytest.mark.parametrize('depth', [1, 2, 4])
def test_grey_of_few_bits_is_read_by_its_numbers(tmp_path, depth):
    """Written by hand, for Pillow writes none; it reads them spread over 0 to 255."""
    numbers = np.arange(3 * 16).reshape(3, 16) % 2**depth
    bits = (numbers[..., None] >> np.arange(depth)[::-1] & 1).reshape(3, -1)
    lines = b''.join(b'\0' + bytes(line) for line in np.packbits(bits, 1))
    chunks = (
        (b'IHDR', struct.pack('>2I5B', 16, 3, depth, 0, 0, 0, 0)),
        (b'IDAT', zlib.compress(lines)),
        (b'IEND', b''),
    )
    told = [
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)) for kind, data in chunks
    ]
    (tmp_path / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(told))
    np.testing.assert_array_equal(read_numbers(tmp_path / 'a.png'), numbers)
    assert read_picture(tmp_path / 'a.png')[..., 0].max() == 255  # a picture is as bright as it is shown


def test_broken_files_are_named(tmp_path, monkeypatch):
    whole = tmp_path / 'whole.png'
    Image.fromarray(PIXELS).save(whole)
    (tmp_path / 'cut.png').write_bytes(whole.read_bytes()[:-60])
    (tmp_path / 'text.png').write_text('no picture')
    (tmp_path / 'empty.png').write_bytes(b'')
    end = whole.read_bytes()[-12:]
    chunk = b'iCCP'  # an empty one behind the pixels, of which Pillow reads a first byte
    odd = whole.read_bytes()[:-12] + struct.pack('>I', 0) + chunk + struct.pack('>I', zlib.crc32(chunk)) + end
    (tmp_path / 'chunk.png').write_bytes(odd)
    for name in ('cut', 'text', 'empty', 'chunk'):
        for read in (read_picture, read_numbers):
            with pytest.raises(ValueError, match=rf'{name}.png cannot be read \(.*it is truncated or no picture'):
                read(tmp_path / f'{name}.png')
    wide = tmp_path / 'wide.png'
    Image.new('L', (64, 64)).save(wide)
    with (
        monkeypatch.context() as patched,
        pytest.raises(ValueError, match=r'wide.png has too many pixels \(.*4096 pixels.*: make the picture smaller'),
    ):
        patched.setattr(Image, 'MAX_IMAGE_PIXELS', 2000)
        read_picture(wide)
    with pytest.raises(ValueError, match=r'absent.png is missing: put the file there'):
        read_picture(tmp_path / 'absent.png')
    with pytest.raises(ValueError, match=r'whole.png is in colours \(mode RGB\), but its pixels are to be numbers'):
        read_numbers(whole)
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / 'a.jpg')
    with pytest.raises(ValueError, match=r'a.jpg is a JPEG, which changes numbers: save it as PNG'):
        read_numbers(tmp_path / 'a.jpg')
    write_picture(tmp_path / 'deep.png', np.full((3, 3), 60_000))
    with pytest.raises(ValueError, match=r'deep.png has more than 8 bits a channel'):
        read_picture(tmp_path / 'deep.png')


def test_resized_pictures():
    assert resize_picture(PIXELS, (9, 14)) is PIXELS
    assert resize_picture(PIXELS, (4, 5)).shape == (4, 5, 3)


@pytest.mark.parametrize('seed', range(12))
def test_run_lengths_are_cocos(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((17, 150)) < (0.5, 0.02, 0.999, 0.0)[seed % 4]
    mask[:, 40:110] = seed % 3 == 0  # long runs take several characters
    run = rle_encode(mask)
    np.testing.assert_array_equal(coco.decode(run).astype(bool), mask)
    np.testing.assert_array_equal(rle_decode(run, (17, 150), 'here'), mask)
    flat, counts, value = mask.T.ravel().tolist(), [], False
    while flat:
        length = next((i for i, v in enumerate(flat) if v != value), len(flat))
        counts.append(length)
        flat, value = flat[length:], not value
    np.testing.assert_array_equal(rle_decode({'size': [17, 150], 'counts': counts}, (17, 150), 'here'), mask)


@pytest.mark.parametrize(
    ('run', 'message'),
    [
        ('abc', 'here is no run-length mask: write'),
        ({'size': [3, 4]}, 'here is no run-length mask'),
        ({'size': 5, 'counts': [12]}, r'here has the size 5: write \[height, width\]'),
        ({'size': [3, 5], 'counts': [15]}, r'here is a mask of \[3, 5\], but the picture is \[3, 4\]: draw it anew'),
        ({'size': [3, 4], 'counts': [5, 6]}, 'here: the counts cannot be read .*they add up to 11, not to 12'),
        ({'size': [3, 4], 'counts': [-1, 13]}, 'here: the counts cannot be read'),
        ({'size': [3, 4], 'counts': []}, 'here: the counts cannot be read'),
        ({'size': [3, 4], 'counts': [0.5, 11.5]}, r'here: the counts .*0\.5 is no whole number'),
        ({'size': [3, 4], 'counts': [True, 11]}, 'True is no whole number'),
        ({'size': [3, 4], 'counts': '~~'}, 'here: the counts cannot be read'),
        ({'size': [3, 4], 'counts': 'o'}, 'here: the counts cannot be read'),
        ({'size': [3, 4], 'counts': None}, 'here: the counts cannot be read'),
        ({'size': [3, 4], 'counts': ['a', 2]}, 'here: the counts cannot be read'),
    ],
)
def test_other_run_lengths_are_refused(run, message):
    with pytest.raises(ValueError, match=message):
        rle_decode(run, (3, 4), 'here')
