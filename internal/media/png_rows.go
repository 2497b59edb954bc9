package media

import (
	"encoding/binary"
	"fmt"
	"io"
)

// adam7 are the first column and row, and the steps between them, of the passes of an
// interlaced picture (PNG, third edition, 8.1).
var adam7 = [...]struct{ x, y, stepX, stepY int }{
	{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
}

// bits are those of a pixel.
func (h *pngHeader) bits() int {
	return h.depth * map[int]int{pngGrey: 1, pngRGB: 3, pngPalette: 1, pngGreyAlpha: 2, pngRGBA: 4}[h.kind]
}

// rows decodes the picture.
func (h *pngHeader) rows(in io.Reader, to *canvas) error {
	if !h.interlaced {
		return h.pass(in, to, 0, 0, 1, 1)
	}
	for _, p := range adam7 {
		if p.x >= h.width || p.y >= h.height {
			continue
		}
		if err := h.pass(in, to, p.x, p.y, p.stepX, p.stepY); err != nil {
			return err
		}
	}
	return nil
}

// pass decodes the rows of one pass, of an interlaced picture, or of all of another.
func (h *pngHeader) pass(in io.Reader, to *canvas, x, y, stepX, stepY int) error {
	width := (h.width - x + stepX - 1) / stepX
	size, pixel := (width*h.bits()+7)/8, max(1, h.bits()/8)
	// Before each row are the number of its filter and the pixel that filters take to be
	// left of the first one, which is 0. Both must stand there: in.Read fills from the
	// filter on, which is the byte before the row, and is then made 0 again.
	row, above := make([]byte, pixel+size), make([]byte, pixel+size)
	pixels := make([]byte, 4*width)
	convert := h.converter()
	for ; y < h.height; y += stepY {
		if _, err := io.ReadFull(in, row[pixel-1:]); err != nil {
			return fmt.Errorf("row %d: %w", y, err)
		}
		filter := row[pixel-1]
		row[pixel-1] = 0
		if err := unfilter(filter, row, above, pixel); err != nil {
			return err
		}
		convert(pixels, row[pixel:])
		if err := to.put(x, y, stepX, pixels); err != nil {
			return err
		}
		row, above = above, row
	}
	return nil
}

// unfilter undoes a row's filter (PNG, third edition, 9.2). Both rows have a pixel of
// zeros before them, whose size in bytes is pixel.
func unfilter(filter byte, row, above []byte, pixel int) error {
	left, above2 := row[:len(row)-pixel], above[pixel:]
	row, aboveLeft := row[pixel:], above[:len(row)-pixel]
	left, above2, aboveLeft = left[:len(row)], above2[:len(row)], aboveLeft[:len(row)]
	switch filter {
	case 0:
	case 1:
		for i := range row {
			row[i] += left[i]
		}
	case 2:
		for i := range row {
			row[i] += above2[i]
		}
	case 3:
		for i := range row {
			row[i] += byte((uint(left[i]) + uint(above2[i])) / 2)
		}
	case 4:
		for i := range row {
			row[i] += paeth(int(left[i]), int(above2[i]), int(aboveLeft[i]))
		}
	default:
		return fmt.Errorf("%w: filter %d", ErrDamaged, filter)
	}
	return nil
}

// paeth is the one of left, above and above left that is nearest to left + above - above left.
func paeth(a, b, c int) byte {
	toA, toB := b-c, a-c
	toC := toA + toB
	toA, toB, toC = magnitude(toA), magnitude(toB), magnitude(toC)
	if toA <= toB && toA <= toC {
		return byte(a)
	}
	if toB <= toC {
		return byte(b)
	}
	return byte(c)
}

// magnitude is the absolute value, without a branch: which it would be is not foreseen.
func magnitude(v int) int {
	sign := v >> 63
	return (v ^ sign) - sign
}

// converter returns what makes pixels of a row. Of 16 bits, the higher 8 are taken.
func (h *pngHeader) converter() func(to, row []byte) {
	switch {
	case h.kind == pngPalette:
		return h.fromPalette()
	case h.kind == pngGrey && h.depth < 16:
		return h.fromGrey()
	}
	wide, size, hidden := h.depth/8, h.bits()/8, h.hidden()
	switch {
	case h.kind == pngRGBA && wide == 1:
		return func(to, row []byte) { copy(to, row) }
	case h.kind == pngRGB && wide == 1 && hidden == nil:
		return func(to, row []byte) {
			for i, j := 0, 0; i+3 < len(to) && j+2 < len(row); i, j = i+4, j+3 {
				to[i], to[i+1], to[i+2], to[i+3] = row[j], row[j+1], row[j+2], 255
			}
		}
	}
	// Where the values of a pixel are, and where its alpha is, if it has any.
	green, blue, alpha := wide, 2*wide, 3*wide
	if h.kind == pngGrey || h.kind == pngGreyAlpha {
		green, blue, alpha = 0, 0, wide
	}
	if alpha == size {
		alpha = -1
	}
	return func(to, row []byte) {
		for ; len(to) >= 4; to, row = to[4:], row[size:] {
			to[0], to[1], to[2], to[3] = row[0], row[green], row[blue], 255
			if alpha >= 0 {
				to[3] = row[alpha]
			} else if hidden != nil && string(row[:size]) == string(hidden) {
				to[3] = 0
			}
		}
	}
}

// hidden is the one colour that is transparent, as it is in a row of 8 or 16 bits, or nil.
func (h *pngHeader) hidden() []byte {
	if h.transparent == nil || h.depth == 16 {
		return h.transparent
	}
	var low []byte
	for i := 1; i < len(h.transparent); i += 2 {
		low = append(low, h.transparent[i])
	}
	return low
}

// fromPalette makes pixels of indices. Those beyond the palette are black.
func (h *pngHeader) fromPalette() func(to, row []byte) {
	var colours [256][4]byte
	for i := range colours {
		colours[i][3] = 255
		if 3*i+2 < len(h.colours) {
			copy(colours[i][:3], h.colours[3*i:])
		}
		if i < len(h.transparent) {
			colours[i][3] = h.transparent[i]
		}
	}
	return h.fromTable(&colours)
}

// fromGrey makes pixels of grey of up to 8 bits.
func (h *pngHeader) fromGrey() func(to, row []byte) {
	var colours [256][4]byte
	most := 1<<h.depth - 1
	for i := range most + 1 {
		v := byte(i * 255 / most)
		colours[i] = [4]byte{v, v, v, 255}
		if h.transparent != nil && int(binary.BigEndian.Uint16(h.transparent)) == i {
			colours[i][3] = 0
		}
	}
	return h.fromTable(&colours)
}

func (h *pngHeader) fromTable(colours *[256][4]byte) func(to, row []byte) {
	if h.depth == 8 {
		return func(to, row []byte) {
			for i, v := range row {
				copy(to[4*i:4*i+4], colours[v][:])
			}
		}
	}
	mask, perByte := byte(1<<h.depth-1), 8/h.depth
	return func(to, row []byte) {
		for i := range len(to) / 4 {
			v := row[i/perByte] >> (8 - h.depth*(i%perByte+1)) & mask
			copy(to[4*i:4*i+4], colours[v][:])
		}
	}
}
