package media

import (
	"fmt"
	"math"
	"sync"
)

// aacShared is what all decoders have in common.
type aacShared struct {
	codes   [12]*aacCode
	tuples  [12][][4]int8       // values of each symbol
	powers  [1<<13 + 64]float64 // i^(4/3), of what escapes and pulses reach
	windows *aacWindows
}

// aacShapes is what values the books hold (table 4.151): how many a code, up to which size, and whether with signs.
var aacShapes = [12]struct {
	dimensions, largest int
	unsigned            bool
}{{}, {4, 1, false}, {4, 1, false}, {4, 2, true}, {4, 2, true}, {2, 4, false}, {2, 4, false}, {2, 7, true}, {2, 7, true}, {2, 12, true}, {2, 12, true}, {2, 16, true}}

var aacTables = sync.OnceValue(func() *aacShared {
	s := &aacShared{windows: newAACWindows()}
	for i, book := range aacBooks {
		s.codes[i] = newAACCode(book)
		shape := aacShapes[i]
		least, base := 0, shape.largest+1
		if !shape.unsigned {
			least, base = -shape.largest, 2*shape.largest+1
		}
		s.tuples[i] = make([][4]int8, len(book.symbols))
		for symbol := range s.tuples[i] {
			left := symbol
			for at := shape.dimensions - 1; at >= 0; at-- {
				s.tuples[i][symbol][at] = int8(left%base + least)
				left /= base
			}
		}
	}
	for i := range s.powers {
		s.powers[i] = math.Pow(float64(i), 4.0/3)
	}
	return s
})

// aacDecoder decodes AAC-LC (ISO/IEC 14496-3, subpart 4).
type aacDecoder struct {
	*aacShared
	config      aacConfig
	long, short *imdct
	work        [2 * aacFrame]float64
	part        [2 * aacShort]float64
	middle      aacMiddle
	seed        uint32
	channels    []*aacChannel
	planes      [][]float64
}

func newAACDecoder(config aacConfig) *aacDecoder {
	d := &aacDecoder{aacShared: aacTables(), config: config, seed: aacSeed, long: newIMDCT(aacFrame), short: newIMDCT(aacShort)}
	for range config.channels {
		c := &aacChannel{}
		d.channels = append(d.channels, c)
		d.planes = append(d.planes, c.out[:])
	}
	return d
}

// Elements of a frame (table 4.85).
const (
	aacSingle = iota
	aacPair
	aacCoupling
	aacLow
	aacData
	aacProgram
	aacFill
	aacEnd
)

// decode decodes raw_data_block (4.4.2.1), data with aacPadding bytes behind it, into frames of
// planes, full scale at 1. They are valid until the next call. Channels lie in the order that
// they come in. Errors: ErrUnsupported, ErrDamaged.
func (d *aacDecoder) decode(data []byte) (planes [][]float64, err error) {
	b := newAACBits(data)
	done := 0 // channels
	for {
		kind := b.read(3)
		if b.over() {
			return nil, fmt.Errorf("%w: a frame that ends early", errUndecoded)
		}
		switch kind {
		case aacSingle, aacLow, aacPair:
			count := 1
			if kind == aacPair {
				count = 2
			}
			if done+count > len(d.channels) {
				return nil, fmt.Errorf("%w: more than %d channels", errUndecoded, len(d.channels))
			}
			if err := d.element(&b, d.channels[done:done+count]); err != nil {
				return nil, err
			}
			done += count
		case aacCoupling:
			return nil, fmt.Errorf("%w: AAC with a coupling channel", ErrUnsupported)
		case aacEnd:
			if done != len(d.channels) {
				return nil, fmt.Errorf("%w: %d of %d channels", errUndecoded, done, len(d.channels))
			}
			return d.planes, nil
		default:
			passElement(&b, kind)
		}
	}
}

// passElement passes what is no sound.
func passElement(b *aacBits, kind int) {
	switch kind {
	case aacData:
		b.read(4)
		aligned, count := b.flag(), b.read(8)
		if count == 255 {
			count += b.read(8)
		}
		if aligned {
			b.align()
		}
		b.at += 8 * count
	case aacProgram:
		programChannels(b, 0)
	case aacFill: // among others what SBR adds
		count := b.read(4)
		if count == 15 {
			count += b.read(8) - 1
		}
		b.at += 8 * count
	}
}

// element reads a single channel or a pair (4.4.2.1, single_channel_element and those behind it).
func (d *aacDecoder) element(b *aacBits, channels []*aacChannel) error {
	b.read(4) // tag
	common := len(channels) == 2 && b.flag()
	if common {
		left, right := channels[0], channels[1]
		if err := d.windowing(b, &left.aacWindowing); err != nil {
			return err
		}
		groups := append(right.groups[:0], left.groups...)
		right.aacWindowing = left.aacWindowing
		right.groups = groups
		if d.middle.mask = b.read(2); d.middle.mask == 3 {
			return fmt.Errorf("%w: a mask of 3", errUndecoded)
		}
		for g := range left.groups {
			for band := range left.bands {
				d.middle.used[g][band] = d.middle.mask == 1 && b.flag()
			}
		}
	}
	for _, c := range channels {
		if err := d.channel(b, c, common); err != nil {
			return err
		}
	}
	if common {
		d.middle.stereo(channels[0], channels[1])
	}
	for _, c := range channels {
		c.shapeNoise()
		d.synthesize(c)
	}
	return nil
}

// synthesize makes sound of a spectrum: transform, windows, and the overlap with the frame
// before (4.6.11.3), whose shape the rising half of a window has.
func (d *aacDecoder) synthesize(c *aacChannel) {
	const level = 1.0 / (1 << 15)
	const flat = (aacFrame - aacShort) / 2 // before and behind a short slope in a long window
	rising, falling := d.windows.long[c.rising], d.windows.long[c.shape]
	short, shortFalling := d.windows.short[c.rising], d.windows.short[c.shape]
	c.rising = c.shape
	work := d.work[:]
	switch c.sequence {
	case aacEightShort:
		clear(work)
		for w := range 8 {
			d.short.transform(c.values[w*aacShort:], d.part[:], level/aacShort)
			at := work[flat+w*aacShort:][:2*aacShort]
			for i := range aacShort {
				at[i] += d.part[i] * short[i]
				at[aacShort+i] += d.part[aacShort+i] * shortFalling[aacShort-1-i]
			}
			short = shortFalling
		}
	default:
		d.long.transform(c.values[:], work, level/aacFrame)
		if c.sequence == aacLongStop {
			slope(work[:aacFrame], short, flat)
		} else {
			slope(work[:aacFrame], rising, 0)
		}
		if c.sequence == aacLongStart {
			slopeDown(work[aacFrame:], shortFalling, flat)
		} else {
			slopeDown(work[aacFrame:], falling, 0)
		}
	}
	for i := range c.out {
		c.out[i] = c.overlap[i] + work[i]
	}
	copy(c.overlap[:], work[aacFrame:])
}

// slope multiplies by a window that is 0 up to flat, and 1 behind its slope.
func slope(values, window []float64, flat int) {
	clear(values[:flat])
	for i, v := range window {
		values[flat+i] *= v
	}
}

// slopeDown is slope backwards.
func slopeDown(values, window []float64, flat int) {
	clear(values[len(values)-flat:])
	for i, v := range window {
		values[len(values)-flat-1-i] *= v
	}
}
