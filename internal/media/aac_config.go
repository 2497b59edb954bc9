package media

import "fmt"

// aacConfig is what AudioSpecificConfig tells (ISO/IEC 14496-3, 1.6.2.1).
type aacConfig struct {
	index    int // of the rate, in aacRates
	rate     int // Hz, of the core
	channels int
}

// parseAACConfig reads AudioSpecificConfig of object type 2, LC, or of a core of it that SBR
// or parametric stereo (5 and 29) build upon. What is behind it, as SBR that is told of there
// (1.6.6), changes nothing in the core. Errors: ErrUnsupported of all else, ErrDamaged.
func parseAACConfig(data []byte) (c aacConfig, err error) {
	b := newAACBits(append(append([]byte(nil), data...), make([]byte, aacPadding)...))
	kind := aacObjectType(&b)
	c.index, c.rate = aacRate(&b)
	layout := b.read(4)
	if kind == 5 || kind == 29 {
		aacRate(&b) // of what SBR makes
		kind = aacObjectType(&b)
	}
	if kind != 2 {
		return c, fmt.Errorf("%w: AAC of object type %d", ErrUnsupported, kind)
	}
	if b.flag() {
		return c, fmt.Errorf("%w: AAC in frames of 960", ErrUnsupported)
	}
	if b.flag() { // dependsOnCoreCoder
		return c, fmt.Errorf("%w: AAC upon another coder", ErrUnsupported)
	}
	b.flag() // extensionFlag, which has nothing behind it for LC
	switch layout {
	case 0:
		c.channels = programChannels(&b, 0)
	case 7, 12, 14:
		c.channels = 8
	case 11:
		c.channels = 7
	default:
		c.channels = layout
	}
	if b.over() || c.rate == 0 || c.channels == 0 {
		return c, fmt.Errorf("%w: AudioSpecificConfig %x", errUndecoded, data)
	}
	if c.channels > 8 {
		return c, fmt.Errorf("%w: AAC of layout %d", ErrUnsupported, layout)
	}
	return c, nil
}

func aacObjectType(b *aacBits) int {
	if kind := b.read(5); kind < 31 {
		return kind
	}
	return 32 + b.read(6)
}

// aacRate reads a rate, Hz. One that has no index uses the tables of a near one (table 4.82).
func aacRate(b *aacBits) (index, rate int) {
	if index = b.read(4); index < len(aacRates) {
		return index, aacRates[index]
	}
	if index < 15 {
		return 0, 0
	}
	rate = b.read(24)
	for i, least := range []int{92017, 75132, 55426, 46009, 37566, 27713, 23004, 18783, 13856, 11502, 9391} {
		if rate >= least {
			return i, rate
		}
	}
	return 11, rate
}

// programChannels reads program_config_element (4.4.1.1), which lies in what began at bit
// begin, and counts its channels.
func programChannels(b *aacBits, begin int) (channels int) {
	b.read(4 + 2 + 4) // tag, object type, rate
	front, side, back, low, data, coupled := b.read(4), b.read(4), b.read(4), b.read(2), b.read(3), b.read(4)
	if b.flag() {
		b.read(4) // mono mixdown
	}
	if b.flag() {
		b.read(4) // stereo mixdown
	}
	if b.flag() {
		b.read(3) // matrix mixdown
	}
	for range front + side + back {
		channels++
		if b.flag() { // a pair
			channels++
		}
		b.read(4)
	}
	b.at += 4*low + 4*data + 5*coupled
	b.at = begin + (b.at-begin+7)&^7
	b.at += 8 * b.read(8) // a comment
	return channels + low
}
