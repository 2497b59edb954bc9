package media

// raster is a picture in memory, or as much of it as is kept.
type raster struct {
	width, height int
	pix           []byte // red, green, blue, alpha of each pixel by rows; the colours are not multiplied by alpha
	alpha         bool   // some pixel is not wholly opaque
	// spanX and spanY are how many pixels the picture covers: less than width and height
	// where those of the right and lower edge were made of fewer than the others.
	spanX, spanY float64
}

// enough is how large the longer side of a raster is at least, where the picture has as
// much: half as much again as the largest thumbnail, so that what the filter of canvas
// lets pass of the finest detail is mostly beyond what a thumbnail can show.
const enough = largest * 3 / 2

// canvas takes the rows of a picture, and keeps it shrunk by a whole number, for which it
// takes the means of squares: little memory, whatever the picture's size. A pixel counts
// by its alpha, so that the colour of what cannot be seen does not spread.
type canvas struct {
	raster
	in                    *source
	fullWidth, fullHeight int      // of the picture that comes
	stored                int      // side of the squares
	sums                  []uint32 // of the squares that are not complete: red, green, blue, each times alpha, and alpha
	first                 int      // row of squares that sums begins with
	opaque                bool     // alpha is 255 in all that came
	came                  int64    // pixels
}

// newCanvas is for a picture of so many pixels as stored. In any order: rows do not come
// from above to below, which takes more memory.
func newCanvas(in *source, width, height int, anyOrder bool) *canvas {
	n := max(1, max(width, height)/enough)
	c := &canvas{in: in, fullWidth: width, fullHeight: height, stored: n, opaque: true}
	c.width, c.height = (width+n-1)/n, (height+n-1)/n
	c.spanX, c.spanY = float64(width)/float64(n), float64(height)/float64(n)
	c.pix = make([]byte, 4*c.width*c.height)
	switch {
	case n == 1: // needs none
	case anyOrder:
		c.sums = make([]uint32, len(c.pix))
	default:
		c.sums = make([]uint32, 4*c.width)
	}
	return c
}

// put takes pixels of row y, like those of raster, from column x on and step columns apart.
func (c *canvas) put(x, y, step int, row []byte) error {
	if y%64 == 0 {
		if err := c.in.alive(); err != nil {
			return err
		}
	}
	if len(row) == 0 { // all of it lies outside
		return nil
	}
	c.came += int64(len(row) / 4)
	c.opaque = c.opaque && isOpaque(row)
	if c.stored == 1 {
		to := c.pix[4*(y*c.width+x):]
		if step == 1 {
			copy(to, row)
			return nil
		}
		for i := 0; i < len(row); i += 4 {
			copy(to[i*step:i*step+4], row[i:i+4])
		}
		return nil
	}
	at := y / c.stored
	sums := c.sums
	if len(c.sums) == len(c.pix) {
		sums = sums[4*c.width*at:]
	} else if at != c.first {
		c.flush()
		c.first = at
	}
	if step == 1 && x == 0 && c.opaque {
		c.addOpaque(sums, row)
	} else {
		c.add(sums, x, step, row)
	}
	return nil
}

func isOpaque(row []byte) bool {
	all := byte(255)
	for i := 3; i < len(row); i += 4 {
		all &= row[i]
	}
	return all == 255
}

// addOpaque adds a whole row of opaque pixels.
func (c *canvas) addOpaque(sums []uint32, row []byte) {
	for ; len(row) > 0; sums = sums[4:] {
		part := row[:min(4*c.stored, len(row))]
		row = row[len(part):]
		var r, g, b uint32
		for i := 0; i+3 < len(part); i += 4 {
			r += uint32(part[i])
			g += uint32(part[i+1])
			b += uint32(part[i+2])
		}
		sums[0] += r * 255
		sums[1] += g * 255
		sums[2] += b * 255
		sums[3] += uint32(len(part)/4) * 255
	}
}

func (c *canvas) add(sums []uint32, x, step int, row []byte) {
	for i := 0; i < len(row); i += 4 {
		to := sums[x/c.stored*4:][:4]
		from := row[i : i+4]
		a := uint32(from[3])
		to[0] += uint32(from[0]) * a
		to[1] += uint32(from[1]) * a
		to[2] += uint32(from[2]) * a
		to[3] += a
		x += step
	}
}

// flush makes pixels of the sums, and begins new ones.
func (c *canvas) flush() {
	for i := 0; i < len(c.sums); i += 4 {
		s := c.sums[i : i+4]
		a := s[3]
		if a == 0 {
			continue
		}
		column, line := i/4%c.width, c.first+i/4/c.width
		to := c.pix[4*(line*c.width+column):][:4]
		to[0] = byte((s[0] + a/2) / a)
		to[1] = byte((s[1] + a/2) / a)
		to[2] = byte((s[2] + a/2) / a)
		n := uint32(min(c.stored, c.fullWidth-column*c.stored) * min(c.stored, c.fullHeight-line*c.stored))
		to[3] = byte((a + n/2) / n)
	}
	clear(c.sums)
}

// done returns the picture. Pixels that never came are transparent.
func (c *canvas) done() raster {
	if c.stored > 1 {
		c.flush()
		c.sums = nil
	}
	c.alpha = !c.opaque || c.came < int64(c.fullWidth)*int64(c.fullHeight)
	return c.raster
}
