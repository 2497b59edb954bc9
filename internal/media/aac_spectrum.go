package media

import (
	"fmt"
	"math"
)

// scale makes the spectrum of quant (4.6.1.3, 4.6.2.3.3): of each band sign·|q|^(4/3)·2^((factor-100)/4),
// or noise. Intensity stereo takes a band from the other channel later.
func (d *aacDecoder) scale(c *aacChannel) {
	clear(c.values[:])
	first := 0
	for g, windows := range c.groups {
		for band := range c.bands {
			book := c.books[g][band]
			if book == aacZero || book > aacNoise {
				continue
			}
			from, to := int(c.offsets[band]), int(c.offsets[band+1])
			factor := math.Exp2(float64(c.factors[g][band]-100) / 4)
			for w := first; w < first+windows; w++ {
				values := c.values[w*aacShort+from : w*aacShort+to]
				if book == aacNoise {
					d.noise(values, math.Exp2(float64(c.factors[g][band])/4))
					continue
				}
				for i, q := range c.quant[w*aacShort+from : w*aacShort+to] {
					switch {
					case q > 0:
						values[i] = d.powers[q] * factor
					case q < 0:
						values[i] = -d.powers[-q] * factor
					}
				}
			}
		}
		first += windows
	}
}

// aacSeed begins the noise. Any noise is right: this one is ffmpeg's, so that sounds with noise can be compared with what it decodes.
const aacSeed = 0x1f2e3d4c

// noise fills a band with noise (4.6.13), the root of whose energy is level.
func (d *aacDecoder) noise(values []float64, level float64) {
	energy := 0.0
	for i := range values {
		d.seed = d.seed*1664525 + 1013904223
		values[i] = float64(int32(d.seed))
		energy += values[i] * values[i]
	}
	for i := range values {
		values[i] *= level / math.Sqrt(max(energy, 1))
	}
}

// aacMiddle is which bands of a pair are sent as sum and difference, or have their intensity inverted.
type aacMiddle struct {
	mask int // ms_mask_present: 0 none, 1 by used, 2 all
	used [8][52]bool
}

// stereo makes left and right of what a pair with a common window sent: of sum and difference
// (4.6.8.1), and of what both channels share but for the level (4.6.8.2).
func (m *aacMiddle) stereo(left, right *aacChannel) {
	first := 0
	for g, windows := range left.groups {
		for band := range left.bands {
			from, to := int(left.offsets[band]), int(left.offsets[band+1])
			used := m.mask == 2 || m.mask == 1 && m.used[g][band]
			book := right.books[g][band]
			level := 0.0
			if book >= aacIntensityOut {
				level = math.Exp2(-float64(right.factors[g][band]) / 4)
				if (book == aacIntensityOut) != (m.mask == 1 && used) {
					level = -level
				}
			}
			for w := first; w < first+windows; w++ {
				l, r := left.values[w*aacShort+from:w*aacShort+to], right.values[w*aacShort+from:w*aacShort+to]
				switch {
				case level != 0:
					for i, v := range l {
						r[i] = v * level
					}
				case used && book < aacNoise && left.books[g][band] < aacNoise:
					for i := range l {
						l[i], r[i] = l[i]+r[i], l[i]-r[i]
					}
				}
			}
		}
		first += windows
	}
}

// aacFilter is a filter of TNS, over the bands from to a window's lower ones (4.6.9).
type aacFilter struct {
	from, to int // bands
	down     bool
	order    int
	lpc      [21]float64
}

// readFilters reads tns_data (4.4.2.7, 4.6.9.3).
func (c *aacChannel) readFilters(b *aacBits) error {
	windows, countBits, lengthBits, orderBits, maxOrder := 1, 2, 6, 5, 12
	if c.sequence == aacEightShort {
		windows, countBits, lengthBits, orderBits, maxOrder = 8, 1, 4, 3, 7
	}
	for w := range windows {
		count, resolution := b.read(countBits), 3
		if count > 0 && b.flag() {
			resolution = 4
		}
		top := len(c.offsets) - 1
		for range count {
			f := aacFilter{to: top}
			top = max(top-b.read(lengthBits), 0)
			f.from = top
			if f.order = b.read(orderBits); f.order > maxOrder {
				return fmt.Errorf("%w: TNS of order %d", errUndecoded, f.order)
			}
			if f.order > 0 {
				f.down = b.flag()
				f.read(b, resolution)
				c.filters[w] = append(c.filters[w], f)
			}
		}
	}
	return nil
}

// read reads the reflection coefficients, and makes those of prediction of them.
func (f *aacFilter) read(b *aacBits, resolution int) {
	bits := resolution
	if b.flag() { // coef_compress
		bits--
	}
	f.lpc[0] = 1
	for m := 1; m <= f.order; m++ {
		v := b.read(bits)
		if v >= 1<<(bits-1) {
			v -= 1 << bits
		}
		steps := float64(int(1)<<(resolution-1)) - 0.5
		if v < 0 {
			steps++
		}
		reflection := math.Sin(float64(v) * math.Pi / 2 / steps)
		before := f.lpc
		for i := 1; i < m; i++ {
			f.lpc[i] = before[i] + reflection*before[m-i]
		}
		f.lpc[m] = reflection
	}
}

// shapeNoise filters the spectrum by TNS.
func (c *aacChannel) shapeNoise() {
	most := min(c.tnsBands, c.bands)
	for w := range c.filters {
		for i := range c.filters[w] {
			f := &c.filters[w][i]
			from, to := int(c.offsets[min(f.from, most)]), int(c.offsets[min(f.to, most)])
			values := c.values[w*aacShort+from : w*aacShort+to]
			at, step := 0, 1
			if f.down {
				at, step = len(values)-1, -1
			}
			for n := range values {
				sum := values[at]
				for k := 1; k <= min(n, f.order); k++ {
					sum -= f.lpc[k] * values[at-k*step]
				}
				values[at] = sum
				at += step
			}
		}
	}
}
