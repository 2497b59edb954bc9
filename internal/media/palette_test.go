package media

import (
	"image"
	"image/color"
	"slices"
	"testing"
)

// TestPaletteOfPatternsAndGlass: patterns as fine as the grid of samples, and of what is seen through.
func TestPaletteOfPatternsAndGlass(t *testing.T) {
	black, white, red, green := color.NRGBA{A: 255}, color.NRGBA{255, 255, 255, 255}, color.NRGBA{R: 255, A: 255}, color.NRGBA{G: 200, A: 255}
	for name, c := range map[string]struct {
		width, height int
		at            func(x, y int) color.NRGBA
		want          []string // in any order
	}{
		"a checkerboard": {1024, 1024, func(x, y int) color.NRGBA { return []color.NRGBA{black, white}[(x+y)%2] }, []string{"#000000", "#ffffff"}},
		"fields of 8":    {1024, 1024, func(x, y int) color.NRGBA { return []color.NRGBA{black, white}[(x/8+y/8)%2] }, []string{"#000000", "#ffffff"}},
		"stripes":        {400, 300, func(x, _ int) color.NRGBA { return []color.NRGBA{black, white}[x%2] }, []string{"#000000", "#ffffff"}},
		"lines":          {300, 400, func(_, y int) color.NRGBA { return []color.NRGBA{black, white}[y%2] }, []string{"#000000", "#ffffff"}},
		"dots": {512, 512, func(x, y int) color.NRGBA {
			if x%4 == 0 && y%4 == 0 {
				return red
			}
			return green
		}, []string{"#00c800", "#ff0000"}},
		"glass":  {300, 200, func(int, int) color.NRGBA { return color.NRGBA{255, 0, 0, 100} }, []string{"#ff0000"}},
		"breath": {300, 200, func(int, int) color.NRGBA { return color.NRGBA{255, 0, 0, 1} }, []string{"#ff0000"}},
		"glass in a thin frame": {300, 200, func(x, _ int) color.NRGBA {
			if x < 2 {
				return green
			}
			return color.NRGBA{255, 0, 0, 100}
		}, []string{"#00c800", "#ff0000"}},
		"a figure with a shadow": {300, 200, func(x, _ int) color.NRGBA {
			if x < 150 {
				return green
			}
			return color.NRGBA{0, 0, 0, 60}
		}, []string{"#00c800"}},
		"nothing": {300, 200, func(int, int) color.NRGBA { return color.NRGBA{255, 0, 0, 0} }, nil},
	} {
		picture := image.NewNRGBA(image.Rect(0, 0, c.width, c.height))
		for i := range c.width * c.height {
			picture.SetNRGBA(i%c.width, i/c.width, c.at(i%c.width, i/c.width))
		}
		content := encoded(t, picture)
		info, _, err := readImageBytes(content, "image/png")
		if err != nil {
			t.Fatal(err)
		}
		again, _, _ := readImageBytes(content, "image/png")
		if !slices.Equal(info.Palette, again.Palette) {
			t.Errorf("%s: %v, then %v", name, info.Palette, again.Palette)
		}
		if got := slices.Sorted(slices.Values(info.Palette)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestPaletteCounts: what is looked at is as frequent as in the picture.
func TestPaletteCounts(t *testing.T) {
	const side = 1024
	r := &raster{width: side, height: side, pix: make([]byte, 4*side*side)}
	for i := range side * side {
		if x, y := i%side, i/side; x%4 == 0 && y%4 == 0 {
			r.pix[4*i] = 255
		}
	}
	n := 0
	for _, p := range r.samples() {
		n += int(p >> 16 & 1)
	}
	if want := paletteSide * paletteSide / 16; n < want*9/10 || n > want*11/10 {
		t.Errorf("%d dots, want %d or so", n, want)
	}
}
