package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"os"
	"slices"
	"testing"
)

// TestSmallerIsWhatLibvipsMakes: with its kernel of Lanczos.
func TestSmallerIsWhatLibvipsMakes(t *testing.T) {
	content, mimeType := imageFile(t, "large.jpg")
	_, thumbnails, err := readImageBytes(content, mimeType)
	if err != nil || len(thumbnails) != 3 {
		t.Fatalf("%d thumbnails, %v", len(thumbnails), err)
	}
	reference, err := os.ReadFile("testdata/images/shown/large-150.png")
	if err != nil {
		t.Fatal(err)
	}
	mean, worst := difference(t, decoded(t, thumbnails[0].Bytes), decoded(t, reference))
	t.Logf("differs by %.2f, at most %.0f", mean, worst)
	if mean > 4 || worst > 32 { // of which the most is JPEG's
		t.Errorf("differs by %.2f, at most %.0f", mean, worst)
	}
}

func TestSizes(t *testing.T) {
	for _, test := range []struct{ width, height int }{
		{1, 1}, {150, 10}, {151, 10}, {300, 300}, {301, 2}, {10, 600}, {601, 400}, {1799, 3}, {1800, 1000}, {40, 4001}, {3000, 1},
	} {
		picture := image.NewGray(image.Rect(0, 0, test.width, test.height))
		for i := range picture.Pix {
			picture.Pix[i] = 200
		}
		_, thumbnails, err := readImageBytes(encoded(t, picture), "image/png")
		if err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		var want []int
		for _, size := range []int{150, 300, 600} {
			if want = append(want, size); max(test.width, test.height) <= size {
				break
			}
		}
		var got []int
		for _, thumbnail := range thumbnails {
			got = append(got, thumbnail.Size)
			made := decoded(t, thumbnail.Bytes)
			scale := min(1, float64(thumbnail.Size)/float64(max(test.width, test.height)))
			exactX, exactY := max(1, float64(test.width)*scale), max(1, float64(test.height)*scale)
			if made.Rect.Dx() != thumbnail.Width || made.Rect.Dy() != thumbnail.Height ||
				math.Abs(float64(thumbnail.Width)-exactX) > 0.51 || math.Abs(float64(thumbnail.Height)-exactY) > 0.51 {
				t.Errorf("%v: %d is %d × %d, the file %v", test, thumbnail.Size, thumbnail.Width, thumbnail.Height, made.Rect)
			}
			for i := 0; i < len(made.Pix); i += 4 {
				if v := made.Pix[i]; v < 199 || v > 201 || made.Pix[i+3] != 255 {
					t.Fatalf("%v: %d holds %v, not 200", test, thumbnail.Size, made.Pix[i:i+4])
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: sizes %v, want %v", test, got, want)
		}
	}
}

// TestNoFringes: what cannot be seen has a colour that must not come to light, by either filter.
func TestNoFringes(t *testing.T) {
	for _, side := range []int{900, 2000} {
		picture := image.NewNRGBA(image.Rect(0, 0, side, side))
		for y := range side {
			for x := range side {
				colour := color.NRGBA{0, 255, 0, 0}
				if (x-side/2)*(x-side/2)+(y-side/2)*(y-side/2) < side*side/9 {
					colour = color.NRGBA{240, 40, 200, 255}
				}
				picture.SetNRGBA(x, y, colour)
			}
		}
		_, thumbnails, err := readImageBytes(encoded(t, picture), "image/png")
		if err != nil {
			t.Fatal(err)
		}
		for _, thumbnail := range thumbnails {
			made, edge := decoded(t, thumbnail.Bytes), 0
			for i := 0; i < len(made.Pix); i += 4 {
				p := made.Pix[i:][:4]
				if p[3] > 0 && p[3] < 255 {
					edge++
				}
				if p[3] > 16 && (p[0] < 236 || p[1] > 44 || p[2] < 196) {
					t.Fatalf("%d of %d: a pixel of %v", thumbnail.Size, side, p)
				}
			}
			if edge < thumbnail.Size/2 {
				t.Errorf("%d of %d: only %d pixels at the edge", thumbnail.Size, side, edge)
			}
		}
	}
}

// TestNoAliasing: detail that a thumbnail cannot hold is grey in it, no pattern.
func TestNoAliasing(t *testing.T) {
	for _, period := range []int{2, 3} {
		for _, side := range []int{1000, 1700, 2400, 5000} {
			checks := image.NewGray(image.Rect(0, 0, side, side))
			for i := range checks.Pix {
				if (i%side/(period-1)+i/side/(period-1))%2 == 0 {
					checks.Pix[i] = 255
				}
			}
			var out bytes.Buffer
			if err := jpeg.Encode(&out, checks, &jpeg.Options{Quality: 95}); err != nil {
				t.Fatal(err)
			}
			for mimeType, content := range map[string][]byte{"image/png": encoded(t, checks), "image/jpeg": out.Bytes()} {
				shown := &picture{orientation: 1}
				err := pictures[mimeType](newSource(context.Background(), bytes.NewReader(content), int64(len(content))), shown)
				if err != nil {
					t.Fatal(err)
				}
				small, err := shown.resize(newSource(context.Background(), nil, 0), 300, 300)
				if err != nil {
					t.Fatal(err)
				}
				low, high := byte(255), byte(0)
				for y := 5; y < 295; y++ {
					for x := 5; x < 295; x++ {
						v := small.pix[4*(300*y+x)]
						low, high = min(low, v), max(high, v)
					}
				}
				if low < 120 || high > 136 {
					t.Errorf("%s of %d with squares of %d: from %d to %d", mimeType, side, period-1, low, high)
				}
			}
		}
	}
}

// TestOrientationOfSmaller: also of what is made smaller, where it turns late.
func TestOrientationOfSmaller(t *testing.T) {
	picture := image.NewGray(image.Rect(0, 0, 1000, 700)) // white in the upper left corner
	for y := range 300 {
		for x := range 300 {
			picture.SetGray(x, y, color.Gray{255})
		}
	}
	content := encoded(t, picture)
	for value, corner := range []string{1: "upper left", 2: "upper right", 3: "lower right", 4: "lower left", 5: "upper left", 6: "upper right", 7: "lower right", 8: "lower left"} {
		if value == 0 {
			continue
		}
		exif := []byte{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, byte(value), 0, 0, 0, 0, 0, 0}
		for place, content := range map[string][]byte{
			"before": withChunk(content, 33, "eXIf", exif), "behind": withChunk(content, len(content)-12, "eXIf", exif),
		} {
			info, thumbnails, err := readImageBytes(content, "image/png")
			if err != nil {
				t.Fatal(err)
			}
			if info.Width != 1000 != (value >= 5) || thumbnails[1].Width != 300 != (value >= 5) {
				t.Errorf("%d %s: %d × %d, thumbnail %d wide", value, place, info.Width, info.Height, thumbnails[1].Width)
			}
			made := decoded(t, thumbnails[1].Bytes)
			x, y := 20, 20
			if corner == "upper right" || corner == "lower right" {
				x = thumbnails[1].Width - 20
			}
			if corner == "lower left" || corner == "lower right" {
				y = thumbnails[1].Height - 20
			}
			if made.NRGBAAt(x, y).R < 250 || made.NRGBAAt(thumbnails[1].Width-x, thumbnails[1].Height-y).R > 5 {
				t.Errorf("%d %s: the corner is not %s", value, place, corner)
			}
		}
	}
}

// withChunk is a PNG file with one chunk more.
func withChunk(file []byte, at int, name string, content []byte) []byte {
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	chunk = append(append(chunk, name...), content...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Concat(file[:at], chunk, file[at:])
}

// TestGamma: what a picture of PNG says of its colours without a profile.
func TestGamma(t *testing.T) {
	picture := image.NewGray(image.Rect(0, 0, 10, 10))
	for i := range picture.Pix {
		picture.Pix[i] = 128
	}
	content := encoded(t, picture)
	number := func(values ...int) (b []byte) {
		for _, v := range values {
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		}
		return b
	}
	gamma := func(v int) []byte { return withChunk(content, 33, "gAMA", number(v)) }
	// Of BT.2020 the white is the same; a grey is the same then, whatever the primaries are.
	wide := withChunk(gamma(45455), 33, "cHRM", number(31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600))
	for name, test := range map[string]struct {
		content []byte
		want    byte
	}{
		"none":     {content, 128},
		"1/2.2":    {gamma(45455), 128},
		"1":        {gamma(100000), 188}, // light itself: half of it is 188 in sRGB
		"1/1.8":    {gamma(55556), 147},
		"absurd":   {gamma(1), 128},
		"BT.2020":  {wide, 128},
		"sRGB too": {withChunk(gamma(100000), 33, "sRGB", []byte{0}), 128},
		"zero primaries": {
			withChunk(gamma(45455), 33, "cHRM", make([]byte, 32)), 128,
		},
	} {
		shown := shownAs(t, test.content, "image/png")
		if got := shown.pix[0]; max(got, test.want)-min(got, test.want) > 1 {
			t.Errorf("gamma %s: %d, want %d", name, got, test.want)
		}
	}
}

func TestPalette(t *testing.T) {
	picture := image.NewNRGBA(image.Rect(0, 0, 800, 600))
	for i := range 800 * 600 {
		colour := color.NRGBA{0x20, 0x60, 0xa0, 255} // half of it
		switch x, y := i%800, i/800; {
		case y >= 500 && x < 400: // a gradient around one colour
			colour = color.NRGBA{byte(0xe0 + x/40), 0x40, 0x20, 255}
		case y >= 300:
			colour = color.NRGBA{0xf0, 0xf0, 0xe0, 255}
		case x >= 700:
			colour = color.NRGBA{0, 0, 0, 100} // not seen much
		}
		picture.SetNRGBA(i%800, i/800, colour)
	}
	info, _, err := readImageBytes(encoded(t, picture), "image/png")
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Palette) != 3 || info.Palette[0] != "#2060a0" || info.Palette[1] != "#f0f0e0" || info.Palette[2][:2] != "#e" || info.Palette[2][3:] != "4020" {
		t.Errorf("palette %v", info.Palette)
	}
}
