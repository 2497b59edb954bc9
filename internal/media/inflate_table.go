package media

import "math/bits"

// inflateTable is a Huffman code of deflate, of 1 to 15 bits (RFC 1951, 3.2.2).
type inflateTable struct {
	look    [1 << codeBits]uint32 // entries, 0 where the code is longer, or none
	entries [288]uint32           // by code, shortest first, for the longer ones
	counts  [16]int               // of codes, by length
}

// newInflateTable makes the table of codes whose lengths are given. An entry of a symbol
// is that of meaning, without the bits of the code.
func newInflateTable(lengths []byte, meaning func(symbol int) uint32) (*inflateTable, error) {
	t := &inflateTable{}
	for _, n := range lengths {
		t.counts[n]++
	}
	t.counts[0] = 0
	var next, index [17]int
	for n := 1; n < 16; n++ {
		next[n+1] = (next[n] + t.counts[n]) << 1
		index[n+1] = index[n] + t.counts[n]
		if next[n]+t.counts[n] > 1<<n {
			return nil, errPacked
		}
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		entry := meaning(symbol) | uint32(n)
		t.entries[index[n]] = entry
		index[n]++
		code := next[n]
		next[n]++
		if n > codeBits {
			continue
		}
		// Bits come lowest first, codes highest first.
		first := int(bits.Reverse16(uint16(code)) >> (16 - n))
		for i := first; i < 1<<codeBits; i += 1 << n {
			t.look[i] = entry
		}
	}
	return t, nil
}

// long is the entry of a code that look does not have, or 0.
func (t *inflateTable) long(value uint64) uint32 {
	code, first, index := 0, 0, 0
	for n := 1; n < 16; n++ {
		code |= int(value & 1)
		value >>= 1
		if code-first < t.counts[n] {
			return t.entries[index+code-first]
		}
		index += t.counts[n]
		first = (first + t.counts[n]) << 1
		code <<= 1
	}
	return 0
}

// literalMeaning is of the code for literals and lengths (RFC 1951, 3.2.5).
func literalMeaning(symbol int) uint32 {
	switch {
	case symbol < 256:
		return entryLiteral | uint32(symbol)<<entryValue
	case symbol == 256:
		return entryEnd
	case symbol < 265:
		return uint32(symbol-257+3) << entryValue
	case symbol < 285:
		extra := uint32(symbol-261) / 4
		return extra<<8 | (uint32(4+(symbol-265)%4)<<extra+3)<<entryValue
	case symbol == 285:
		return longest << entryValue
	}
	return entryNone
}

// distanceMeaning is of the code for distances.
func distanceMeaning(symbol int) uint32 {
	switch {
	case symbol < 4:
		return uint32(symbol+1) << entryValue
	case symbol < 30:
		extra := uint32(symbol-2) / 2
		return extra<<8 | (uint32(2+symbol%2)<<extra+1)<<entryValue
	}
	return entryNone
}

// The codes of blocks that bring none (RFC 1951, 3.2.6).
var fixedLiterals, fixedDistances = func() (literals, distances *inflateTable) {
	var lengths [288]byte
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	literals, _ = newInflateTable(lengths[:], literalMeaning)
	var five [30]byte
	for i := range five {
		five[i] = 5
	}
	distances, _ = newInflateTable(five[:], distanceMeaning)
	return literals, distances
}()

// lengthOrder is the order in which the lengths of the codes for lengths come.
const lengthOrder = "\x10\x11\x12\x00\x08\x07\x09\x06\x0a\x05\x0b\x04\x0c\x03\x0d\x02\x0e\x01\x0f"

// tables reads the codes of a block (RFC 1951, 3.2.7).
func (z *inflater) tables() error {
	literals, distances, codes := 257+z.take(5), 1+z.take(5), 4+z.take(4)
	if literals > 286 || distances > 30 {
		return errPacked
	}
	var lengths [19]byte
	for _, place := range []byte(lengthOrder[:codes]) {
		z.fill()
		lengths[place] = byte(z.take(3))
	}
	table, err := newInflateTable(lengths[:], func(symbol int) uint32 { return uint32(symbol+1) << entryValue })
	if err != nil {
		return err
	}
	var all [286 + 30]byte
	for i := 0; i < literals+distances; {
		z.fill()
		e := table.long(z.value)
		if e == 0 || z.count < z.unreal {
			return errPacked
		}
		z.take(int(e & 63))
		symbol, again, length := int(e>>entryValue)-1, 1, byte(0)
		switch symbol {
		case 16:
			if i == 0 {
				return errPacked
			}
			again, length = 3+z.take(2), all[i-1]
		case 17:
			again = 3 + z.take(3)
		case 18:
			again = 11 + z.take(7)
		default:
			length = byte(symbol)
		}
		if i+again > literals+distances {
			return errPacked
		}
		for range again {
			all[i] = length
			i++
		}
	}
	if z.literals, err = newInflateTable(all[:literals], literalMeaning); err != nil {
		return err
	}
	z.distances, err = newInflateTable(all[literals:literals+distances], distanceMeaning)
	return err
}
