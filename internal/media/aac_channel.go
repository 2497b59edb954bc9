package media

import "fmt"

// aacFrame is how many samples of each channel a frame has, aacShort how many values one of
// the 8 short windows in it.
const (
	aacFrame = 1024
	aacShort = 128
)

// The sequences of windows (ISO/IEC 14496-3, table 4.128), in which a frame is a long window, or 8 short ones.
const (
	aacLongOnly = iota
	aacLongStart
	aacEightShort
	aacLongStop
)

// Books that are none of spectra (4.6.2, table 4.151).
const (
	aacZero         = 0
	aacReserved     = 12
	aacNoise        = 13
	aacIntensityOut = 14 // out of phase
	aacIntensityIn  = 15
)

// aacWindowing is ics_info (4.4.2.1): which windows a frame has.
type aacWindowing struct {
	sequence, shape int
	bands           int      // max_sfb: that are sent, of each window
	offsets         []uint16 // where bands of a window begin, and its end
	groups          []int    // how many windows share their scale factors
	tnsBands        int      // that TNS may change
}

// aacChannel is one channel: of the frame that is read, and what is kept for the next.
type aacChannel struct {
	aacWindowing
	gain    int
	books   [8][52]uint8 // by group and band
	factors [8][52]int16 // scale factors, levels of noise, or positions of intensity
	pulses  []aacPulse
	filters [8][]aacFilter // of each window
	quant   [aacFrame]int32
	values  [aacFrame]float64 // the spectrum

	rising  int // the shape of the window before
	overlap [aacFrame]float64
	out     [aacFrame]float64
}

// aacPulse adds to the size of a value (4.6.3.3 and pulse_data).
type aacPulse struct{ at, by int }

// windowing reads ics_info.
func (d *aacDecoder) windowing(b *aacBits, w *aacWindowing) error {
	b.flag() // reserved
	w.sequence, w.shape = b.read(2), b.read(1)
	tables := &aacRateTables[d.config.index]
	w.groups = append(w.groups[:0], 1)
	if w.sequence == aacEightShort {
		w.offsets, w.tnsBands = aacShortBands[tables.short], tables.tnsShort
		w.bands = b.read(4)
		for range 7 {
			if b.flag() {
				w.groups[len(w.groups)-1]++
			} else {
				w.groups = append(w.groups, 1)
			}
		}
	} else {
		w.offsets, w.tnsBands = aacLongBands[tables.long], tables.tnsLong
		w.bands = b.read(6)
		if b.flag() { // predictor_data_present
			return fmt.Errorf("%w: AAC with prediction", errUndecoded)
		}
	}
	if w.bands >= len(w.offsets) {
		return fmt.Errorf("%w: %d bands", errUndecoded, w.bands)
	}
	return nil
}

// channel reads individual_channel_stream (4.4.2.7) and computes its spectrum. Of a pair with a common window that is known.
func (d *aacDecoder) channel(b *aacBits, c *aacChannel, common bool) error {
	c.gain = b.read(8)
	if !common {
		if err := d.windowing(b, &c.aacWindowing); err != nil {
			return err
		}
	}
	if err := c.sections(b); err != nil {
		return err
	}
	if err := d.scaleFactors(b, c); err != nil {
		return err
	}
	c.pulses = c.pulses[:0]
	if b.flag() {
		if err := c.readPulses(b); err != nil {
			return err
		}
	}
	for w := range c.filters {
		c.filters[w] = c.filters[w][:0]
	}
	if b.flag() {
		if err := c.readFilters(b); err != nil {
			return err
		}
	}
	if b.flag() {
		return fmt.Errorf("%w: AAC with gain control", ErrUnsupported)
	}
	d.spectrum(b, c)
	if b.over() {
		return fmt.Errorf("%w: a frame that ends early", errUndecoded)
	}
	d.scale(c)
	return nil
}

// sections reads section_data: which book each band has.
func (c *aacChannel) sections(b *aacBits) error {
	bits := 5
	if c.sequence == aacEightShort {
		bits = 3
	}
	for g := range c.groups {
		for band := 0; band < c.bands; {
			book, length := b.read(4), 0
			for {
				part := b.read(bits)
				length += part
				if part != 1<<bits-1 {
					break
				}
			}
			if book == aacReserved || length > c.bands-band || b.over() {
				return fmt.Errorf("%w: %d bands of book %d", errUndecoded, length, book)
			}
			for range length {
				c.books[g][band] = uint8(book)
				band++
			}
		}
	}
	return nil
}

// scaleFactors reads scale_factor_data (4.6.2.3.2; intensity in 4.6.8.2.3, noise in 4.6.13.3):
// differences to the one before of the same kind.
func (d *aacDecoder) scaleFactors(b *aacBits, c *aacChannel) error {
	factor, position, noise, noisy := c.gain, 0, c.gain-90, false
	for g := range c.groups {
		for band := range c.bands {
			last := &factor
			switch c.books[g][band] {
			case aacZero:
				continue
			case aacIntensityIn, aacIntensityOut:
				last = &position
			case aacNoise:
				last = &noise
				if !noisy {
					noisy = true
					noise += b.read(9) - 256
					c.factors[g][band] = int16(noise)
					continue
				}
			}
			*last += d.codes[0].next(b) - 60
			if last == &factor && (factor < 0 || factor > 255) || *last < -512 || *last > 512 {
				return fmt.Errorf("%w: a scale factor of %d", errUndecoded, *last)
			}
			c.factors[g][band] = int16(*last)
		}
	}
	return nil
}

// readPulses reads pulse_data.
func (c *aacChannel) readPulses(b *aacBits) error {
	if c.sequence == aacEightShort {
		return fmt.Errorf("%w: pulses in short windows", errUndecoded)
	}
	count, band := b.read(2)+1, b.read(6)
	if band >= len(c.offsets) {
		return fmt.Errorf("%w: pulses in band %d", errUndecoded, band)
	}
	at := int(c.offsets[band])
	for range count {
		at += b.read(5)
		if at >= aacFrame {
			return fmt.Errorf("%w: a pulse at %d", errUndecoded, at)
		}
		c.pulses = append(c.pulses, aacPulse{at, b.read(4)})
	}
	return nil
}

// spectrum reads spectral_data into quant (4.6.3.3): of each group, its bands, of each band its windows.
func (d *aacDecoder) spectrum(b *aacBits, c *aacChannel) {
	first := 0
	clear(c.quant[:])
	for g, windows := range c.groups {
		for band := range c.bands {
			book := int(c.books[g][band])
			if book == aacZero || book > aacReserved {
				continue
			}
			from, to := int(c.offsets[band]), int(c.offsets[band+1])
			for w := first; w < first+windows; w++ {
				d.band(b, book, c.quant[w*aacShort+from:w*aacShort+to])
			}
		}
		first += windows
	}
	for _, p := range c.pulses {
		if c.quant[p.at] > 0 {
			c.quant[p.at] += int32(p.by)
		} else {
			c.quant[p.at] -= int32(p.by)
		}
	}
}

// band reads the values of one band, 2 or 4 a code. Books of sizes are followed by the signs
// of those that are not 0, and in book 11 by what is left of sizes from 16 on.
func (d *aacDecoder) band(b *aacBits, book int, quant []int32) {
	code, tuples, shape := d.codes[book], d.tuples[book], aacShapes[book]
	for at := 0; at+shape.dimensions <= len(quant); at += shape.dimensions {
		tuple, out := &tuples[code.next(b)], quant[at:at+shape.dimensions]
		for i := range out {
			out[i] = int32(tuple[i])
			if shape.unsigned && out[i] != 0 && b.flag() {
				out[i] = -out[i]
			}
		}
		if book == 11 {
			for i, v := range out {
				switch v {
				case 16:
					out[i] = escape(b)
				case -16:
					out[i] = -escape(b)
				}
			}
		}
	}
}

// escape reads a size from 16 to 8191: bits that are 1 tell how many follow (4.6.3.3).
func escape(b *aacBits) int32 {
	bits := 4
	for b.flag() && bits < 12 {
		bits++
	}
	return int32(1<<bits + b.read(bits))
}
