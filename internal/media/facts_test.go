package media

import (
	"bytes"
	"errors"
	"regexp"
	"testing"
)

// TestSoundThatCannotBeDecodedHasFacts: those of the file without the damage, but for the peaks.
func TestSoundThatCannotBeDecodedHasFacts(t *testing.T) {
	for name, c := range map[string]func(b []byte) (at int, with []byte){
		"s16.flac": func(b []byte) (int, []byte) { return len(b) - 1, []byte{b[len(b)-1] ^ 1} }, // the last frame's checksum
		"flac.ogg": func(b []byte) (int, []byte) { return len(b) - 1, []byte{b[len(b)-1] ^ 1} },
		"vorbis.ogg": func(b []byte) (int, []byte) { // a packet that is not of sound
			page := nth(b, "OggS", 3)
			return page + 27 + int(b[page+26]), []byte{0xff}
		},
		"opus.ogg": func(b []byte) (int, []byte) { // a packet of 63 frames
			page := nth(b, "OggS", 3)
			return page + 27 + int(b[page+26]), []byte{0xff, 0xff}
		},
		"aac.m4a": func(b []byte) (int, []byte) { // a frame that is no raw_data_block
			return bytes.Index(b, []byte("mdat")) + 5000, bytes.Repeat([]byte{0x5a}, 400)
		},
		"cbr.mp3": func(b []byte) (int, []byte) { return nth(b, "\xff\xfb\x78", 5) + 7, []byte{0xff, 0xff} }, // more values than a granule has
	} {
		content, mimeType := audioFile(t, name)
		whole, err := readBytes(content, mimeType)
		if err != nil {
			t.Fatal(err)
		}
		at, with := c(content)
		got, err := readBytes(patched(content, at, with...), mimeType)
		if !errors.Is(err, ErrDamaged) || got.Waveform != nil {
			t.Errorf("%s: %d peaks, error %v", name, len(got.Waveform), err)
		}
		off := got.Duration - whole.Duration
		if off > 0.001 || off < -0.001 || got.SampleRate != whole.SampleRate || got.Channels != whole.Channels || got.Format != whole.Format || float64(got.Bitrate) < 0.9*float64(whole.Bitrate) {
			t.Errorf("%s: %+v, want %+v: %v", name, got, whole, err)
		}
	}
}

// nth is where the nth occurrence begins.
func nth(b []byte, of string, n int) int {
	at := -1
	for range n {
		at += 1 + bytes.Index(b[at+1:], []byte(of))
	}
	return at
}

// TestSoundThatContradictsItselfHasNone, nor has what is cut off.
func TestSoundThatContradictsItselfHasNone(t *testing.T) {
	flacFile, mimeType := audioFile(t, "s16.flac")
	for name, content := range map[string][]byte{
		"cut off":       flacFile[:len(flacFile)/2],
		"of 8 channels": patched(flacFile, 20, flacFile[20]|0x0e),
	} {
		if info, err := readBytes(content, mimeType); !errors.Is(err, ErrDamaged) || info.SampleRate != 0 || info.Duration != 0 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

// TestPictureThatCannotBeDecodedHasFacts: at least its size.
func TestPictureThatCannotBeDecodedHasFacts(t *testing.T) {
	for name, frames := range map[string]int{"rgb.png": 1, "orientation6.jpg": 1, "animated.gif": 0, "animated.webp": 2, "lossy.webp": 1} {
		content, mimeType := imageFile(t, name)
		whole, _, err := readImageBytes(content, mimeType)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.Clone(content)
		if begin := regexp.MustCompile(`IDAT|VP8 |VP8L`).FindIndex(content); begin != nil {
			copy(content[begin[1]+14:], bytes.Repeat([]byte{0xff}, 40))
		} else { // GIF and JPEG
			content = content[:len(content)*3/4]
		}
		got, thumbnails, err := readImageBytes(content, mimeType)
		saneImage(t, got, thumbnails, err)
		if !errors.Is(err, ErrDamaged) || got.Width != whole.Width || got.Height != whole.Height || got.Format != whole.Format || got.Frames != frames {
			t.Errorf("%s: %+v, want %+v: %v", name, got, whole, err)
		}
	}
}
