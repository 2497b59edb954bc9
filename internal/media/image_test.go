package media

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/draw"
	_ "image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var imageTypes = map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}

// imageFiles are the names of the pictures in testdata/images.
func imageFiles(t testing.TB) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("testdata/images")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if imageTypes[filepath.Ext(entry.Name())] != "" {
			names = append(names, entry.Name())
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %d pictures", len(names))
	}
	return names
}

func imageFile(t testing.TB, name string) (content []byte, mimeType string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata/images", name))
	if err != nil {
		t.Fatal(err)
	}
	return content, imageTypes[filepath.Ext(name)]
}

func readImageBytes(content []byte, mimeType string) (ImageInfo, []Thumbnail, error) {
	return ReadImage(context.Background(), bytes.NewReader(content), int64(len(content)), mimeType)
}

// decoded is any picture with its pixels as in raster.
func decoded(t testing.TB, content []byte) *image.NRGBA {
	t.Helper()
	picture, _, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if same, ok := picture.(*image.NRGBA); ok {
		return same
	}
	made := image.NewNRGBA(image.Rect(0, 0, picture.Bounds().Dx(), picture.Bounds().Dy()))
	draw.Draw(made, made.Rect, picture, picture.Bounds().Min, draw.Src)
	return made
}

func encoded(t testing.TB, picture image.Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// shownAs is a picture as its thumbnails show it, before they are encoded.
func shownAs(t testing.TB, content []byte, mimeType string) raster {
	t.Helper()
	pic := &picture{orientation: 1}
	err := pictures[mimeType](newSource(context.Background(), bytes.NewReader(content), int64(len(content))), pic)
	if err != nil {
		t.Fatal(err)
	}
	shown := pic.orientation.apply(pic.raster)
	pic.profile.transform().apply(shown.pix)
	return shown
}

// difference is by how much two pictures differ, on average and at most, of 255: in what
// is seen of them on black and on white.
func difference(t testing.TB, a, b *image.NRGBA) (mean, worst float64) {
	t.Helper()
	if a.Rect != b.Rect {
		t.Fatalf("%v and %v", a.Rect, b.Rect)
	}
	sum := 0.0
	for i := 0; i < len(a.Pix); i += 4 {
		for c := range 3 {
			for _, ground := range []float64{0, 255} {
				on := func(p []byte) float64 {
					alpha := float64(p[3]) / 255
					return float64(p[c])*alpha + ground*(1-alpha)
				}
				off := on(a.Pix[i:]) - on(b.Pix[i:])
				off = max(off, -off)
				sum += off
				worst = max(worst, off)
			}
		}
	}
	return sum / float64(len(a.Pix)/4*6), worst
}

func (r *raster) image() *image.NRGBA {
	return &image.NRGBA{Pix: r.pix, Stride: 4 * r.width, Rect: image.Rect(0, 0, r.width, r.height)}
}

// coarse are files with fewer pixels of colour than of light. Where there are twice as
// many, libvips makes those between of their neighbours, and ReadImage repeats them: a
// difference that is not seen in what has been made smaller.
var coarse = map[string]bool{
	"baseline.jpg": true, "progressive.jpg": true, "422.jpg": true, "lossy.webp": true, "alpha.webp": true,
}

// TestImageIsWhatLibvipsShows: in every format and layout, in sRGB, with its orientation.
func TestImageIsWhatLibvipsShows(t *testing.T) {
	for _, name := range imageFiles(t) {
		if name == "large.jpg" {
			continue // TestSmallerIsWhatLibvipsMakes
		}
		t.Run(name, func(t *testing.T) {
			content, mimeType := imageFile(t, name)
			shown := shownAs(t, content, mimeType)
			reference, err := os.ReadFile(filepath.Join("testdata/images/shown", name+".png"))
			if err != nil {
				t.Fatal(err)
			}
			mean, worst := difference(t, shown.image(), decoded(t, reference))
			t.Logf("differs by %.2f, at most %.0f", mean, worst)
			mostMean, mostWorst := 0.6, 4.0
			if coarse[name] || strings.HasPrefix(name, "orientation") {
				mostMean, mostWorst = 3, 16
			}
			if mean > mostMean || worst > mostWorst {
				t.Errorf("differs by %.2f, at most %.0f", mean, worst)
			}
		})
	}
}

func TestImageFacts(t *testing.T) {
	for name, want := range map[string]ImageInfo{
		"rgb.png":          {Width: 60, Height: 40, Format: "png", Frames: 1},
		"rgba.png":         {Width: 60, Height: 40, Format: "png", Frames: 1, HasAlpha: true},
		"palette.png":      {Width: 60, Height: 40, Format: "png", Frames: 1, HasAlpha: true},
		"key.png":          {Width: 60, Height: 40, Format: "png", Frames: 1, HasAlpha: true},
		"grey.jpg":         {Width: 60, Height: 40, Format: "jpeg", Frames: 1},
		"orientation6.jpg": {Width: 40, Height: 60, Format: "jpeg", Frames: 1},
		"orientation3.jpg": {Width: 60, Height: 40, Format: "jpeg", Frames: 1},
		"animated.gif":     {Width: 60, Height: 40, Format: "gif", Frames: 3, HasAlpha: true},
		"animated.webp":    {Width: 60, Height: 40, Format: "webp", Frames: 2, HasAlpha: true},
		"lossy.webp":       {Width: 60, Height: 40, Format: "webp", Frames: 1},
		"alpha.webp":       {Width: 60, Height: 40, Format: "webp", Frames: 1, HasAlpha: true},
	} {
		content, mimeType := imageFile(t, name)
		got, thumbnails, err := readImageBytes(content, mimeType)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.Palette) < 2 {
			t.Errorf("%s: palette %v", name, got.Palette)
		}
		if len(thumbnails) != 1 || thumbnails[0].Size != smallest || thumbnails[0].Width != want.Width || thumbnails[0].Height != want.Height {
			t.Errorf("%s: %d thumbnails, the first %d × %d", name, len(thumbnails), thumbnails[0].Width, thumbnails[0].Height)
		}
		if isPNG := thumbnails[0].MIMEType == "image/png"; isPNG != want.HasAlpha {
			t.Errorf("%s: thumbnail of type %s", name, thumbnails[0].MIMEType)
		}
		got.Palette = nil
		if got.Width != want.Width || got.Height != want.Height || got.Format != want.Format || got.Frames != want.Frames || got.HasAlpha != want.HasAlpha {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestSpriteIsNotTouched: pixel art stays as it is, to the pixel.
func TestSpriteIsNotTouched(t *testing.T) {
	sprite := image.NewNRGBA(image.Rect(0, 0, 32, 32))
	for i := range 32 * 32 {
		x, y := i%32, i/32
		switch {
		case x < 8 || y > 27: // is not seen, whatever colour it has
			sprite.SetNRGBA(x, y, color.NRGBA{200, 0, 0, 0})
		case x < 20:
			sprite.SetNRGBA(x, y, color.NRGBA{0x10, 0x20, 0x30, 255})
		case x < 24:
			sprite.SetNRGBA(x, y, color.NRGBA{0x14, 0x20, 0x30, 255}) // nearly the same
		default:
			sprite.SetNRGBA(x, y, color.NRGBA{0xff, 0xc0, 0x01, 129})
		}
	}
	info, thumbnails, err := readImageBytes(encoded(t, sprite), "image/png")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(info.Palette, " "); got != "#102030 #ffc001 #142030" {
		t.Errorf("palette %s", got)
	}
	if len(thumbnails) != 1 {
		t.Fatalf("%d thumbnails", len(thumbnails))
	}
	if mean, _ := difference(t, decoded(t, thumbnails[0].Bytes), sprite); mean != 0 {
		t.Errorf("it differs by %v", mean)
	}
}

// TestOpaqueChannelIsNoAlpha: where nothing is seen of it.
func TestOpaqueChannelIsNoAlpha(t *testing.T) {
	picture := image.NewNRGBA(image.Rect(0, 0, 700, 500))
	for i := range picture.Pix {
		picture.Pix[i] = 255
	}
	picture.Pix[0] = 254 // or the encoder sees that no channel is needed; it does so by alpha alone
	content := encoded(t, picture)
	info, thumbnails, err := readImageBytes(content, "image/png")
	if err != nil || info.HasAlpha || thumbnails[0].MIMEType != "image/jpeg" {
		t.Errorf("%+v, %v", info, err)
	}
	picture.Pix[3] = 254
	info, thumbnails, err = readImageBytes(encoded(t, picture), "image/png")
	if err != nil || !info.HasAlpha || thumbnails[0].MIMEType != "image/png" {
		t.Errorf("with a pixel that is not opaque: %+v, %v", info, err)
	}
}
