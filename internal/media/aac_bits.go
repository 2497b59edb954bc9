package media

import "encoding/binary"

// aacBits reads bits, the highest of a byte first. Past the end it reads zeros, and says so.
type aacBits struct {
	data []byte // with 8 more bytes than are there
	at   int    // bits
	end  int
}

// aacPadding is how many bytes behind a frame may be looked at.
const aacPadding = 8

// newAACBits reads data but for its last aacPadding bytes.
func newAACBits(data []byte) aacBits { return aacBits{data: data, end: 8 * (len(data) - aacPadding)} }

func (b *aacBits) over() bool { return b.at > b.end }

// peek is the next n bits, up to 32.
func (b *aacBits) peek(n int) int {
	if b.at > b.end {
		return 0
	}
	return int(binary.BigEndian.Uint64(b.data[b.at>>3:]) << (b.at & 7) >> (64 - n))
}

func (b *aacBits) read(n int) int {
	v := b.peek(n)
	b.at += n
	return v
}

func (b *aacBits) flag() bool { return b.read(1) == 1 }

// align goes on to the next whole byte.
func (b *aacBits) align() { b.at = (b.at + 7) &^ 7 }

// aacFast is how many bits are looked up at once. Longer codes are rare.
const aacFast = 9

// aacCode decodes one of aacBooks.
type aacCode struct {
	fast    [1 << aacFast]struct{ symbol, length uint16 } // length 0: it is longer
	counts  []uint16
	symbols []uint16
}

func newAACCode(book aacBook) *aacCode {
	c := &aacCode{counts: book.counts, symbols: book.symbols}
	code, index := 0, 0
	for i, count := range book.counts {
		length := i + 1
		if length > aacFast {
			break
		}
		for range count {
			first := code << (aacFast - length)
			for j := range 1 << (aacFast - length) {
				c.fast[first+j].symbol, c.fast[first+j].length = book.symbols[index], uint16(length)
			}
			code, index = code+1, index+1
		}
		code <<= 1
	}
	return c
}

// next is the symbol of the next code. The codes are complete: there always is one.
func (c *aacCode) next(b *aacBits) int {
	bits := b.peek(len(c.counts))
	prefix := bits << aacFast >> len(c.counts)
	if entry := &c.fast[prefix]; entry.length > 0 {
		b.at += int(entry.length)
		return int(entry.symbol)
	}
	first, index := 0, 0 // the first code of a length, and which symbol that is
	for i, count := range c.counts {
		code := bits >> (len(c.counts) - i - 1)
		if code-first < int(count) {
			b.at += i + 1
			return int(c.symbols[index+code-first])
		}
		index += int(count)
		first = (first + int(count)) << 1
	}
	return 0
}
