package media

import (
	"encoding/binary"
	"errors"
)

// zigzag is the place, by rows, of the coefficient of each number (ITU-T T.81, figure A.6).
var zigzag = makeZigzag()

// makeZigzag follows the diagonals, up and down in turns.
func makeZigzag() (order [64]uint8) {
	at := 0
	for d := range 15 {
		for i := max(0, d-7); i <= min(d, 7); i++ {
			row, column := i, d-i
			if d%2 == 0 {
				row, column = column, row
			}
			order[at] = uint8(8*row + column)
			at++
		}
	}
	return order
}

// keepOf says for blocks that become size × size pixels where each coefficient is kept:
// at row × size + column, and those that are not at 64.
var keepOf = func() map[int]*[64]uint8 {
	all := make(map[int]*[64]uint8)
	for _, size := range []int{1, 2, 4, 8} {
		keep := new([64]uint8)
		for k, place := range zigzag {
			row, column := int(place/8), int(place%8)
			if keep[k] = 64; row < size && column < size {
				keep[k] = uint8(row*size + column)
			}
		}
		all[size] = keep
	}
	return all
}()

// lookBits are how many bits of a code are looked up at once. Most codes are shorter.
const lookBits = 10

// huffman is a table of codes of 1 to 16 bits, each for a byte: how many zeros come
// before a coefficient, and in how many bits it is written.
type huffman struct {
	look   [1 << lookBits]uint16 // the length of a code, and in the lower byte what it stands for; 0: longer
	symbol [256]byte
	most   [18]uint32 // the first code, of 16 bits, that is longer than the index; of 17 all are shorter
	offset [17]int32  // of a length's codes: index of the symbol, less the code
}

// newHuffman makes a table of what DHT holds of it, and returns how many bytes that were.
func newHuffman(content []byte) (*huffman, int, error) {
	h := &huffman{}
	code, at := uint32(0), 0
	symbols := content[16:]
	for length := 1; length <= 16; length++ {
		n := int(content[length-1])
		h.offset[length] = int32(at) - int32(code)
		if at+n > min(len(symbols), 256) || code+uint32(n) > 1<<length {
			return nil, 0, errors.New("a Huffman table of too many codes")
		}
		for range n {
			h.symbol[at] = symbols[at]
			if length <= lookBits {
				first := code << (lookBits - length)
				for i := range uint32(1) << (lookBits - length) {
					h.look[first+i] = uint16(length)<<8 | uint16(symbols[at])
				}
			}
			code++
			at++
		}
		h.most[length] = code << (16 - length)
		code <<= 1
	}
	h.most[17] = 1 << 16
	return h, 16 + at, nil
}

// bitReader reads the bits of a scan, where 0xff is written as 0xff 0x00.
type bitReader struct {
	in     *source
	buffer []byte // what in has ready
	used   int    // bytes of buffer
	value  uint64 // the next bits, from the highest on
	count  int    // how many those are
	unreal int    // of these, how many are behind the end: zeros
	ended  bool   // a marker comes, or nothing
	failed error
}

// fill makes at least 32 bits ready.
func (b *bitReader) fill() {
	if b.used+8 <= len(b.buffer) && b.count <= 32 && !b.ended {
		// Four bytes at once where none of them is 0xff.
		four := binary.BigEndian.Uint32(b.buffer[b.used:])
		if inverted := ^four; (inverted-0x01010101)&four&0x80808080 == 0 {
			b.value |= uint64(four) << (32 - b.count)
			b.count += 32
			b.used += 4
			return
		}
	}
	for b.count <= 56 {
		v := b.next()
		b.value |= uint64(v) << (56 - b.count)
		b.count += 8
	}
}

// next is the next byte of the scan, or 0 behind its end.
func (b *bitReader) next() byte {
	if !b.ended {
		if v, ok := b.peek(0); ok && v != 0xff {
			b.used++
			return v
		}
		if v, ok := b.peek(1); ok && v == 0 {
			b.used += 2
			return 0xff
		}
		b.ended = true
	}
	b.unreal += 8
	return 0
}

// peek is the byte at an offset from the next one.
func (b *bitReader) peek(offset int) (byte, bool) {
	if b.used+offset < len(b.buffer) {
		return b.buffer[b.used+offset], true
	}
	b.release()
	if _, err := b.in.Peek(offset + 1); err != nil {
		b.failed = err
		return 0, false
	}
	b.buffer, _ = b.in.Peek(b.in.Buffered())
	return b.buffer[offset], true
}

// release gives back to in what was not used.
func (b *bitReader) release() {
	_, _ = b.in.Discard(b.used)
	b.buffer, b.used = nil, 0
}

// overran says whether more was read than there is.
func (b *bitReader) overran() bool { return b.count < b.unreal }

// symbol reads a code. At least 16 bits must be ready.
func (b *bitReader) symbol(h *huffman) byte {
	if e := h.look[b.value>>(64-lookBits)]; e != 0 {
		b.value <<= e >> 8
		b.count -= int(e >> 8)
		return byte(e)
	}
	return b.longSymbol(h)
}

func (b *bitReader) longSymbol(h *huffman) byte {
	code := uint32(b.value >> 48)
	length := lookBits + 1
	for code >= h.most[length] {
		length++
	}
	if length > 16 { // a code that the table does not have
		b.unreal = b.count + 1
		b.value <<= 16
		b.count -= 16
		return 0
	}
	b.value <<= length
	b.count -= length
	return h.symbol[(int32(code>>(16-length))+h.offset[length])&255]
}

// signed reads a number of n bits, up to 16, of which the upper half are positive
// (ITU-T T.81, table F.1). So many bits must be ready.
func (b *bitReader) signed(n int) int32 {
	if n == 0 {
		return 0
	}
	v := int32(b.value >> (64 - n))
	b.value <<= n
	b.count -= n
	if v < 1<<(n-1) {
		v -= 1<<n - 1
	}
	return v
}

// bit reads one.
func (b *bitReader) bit() bool {
	if b.count == 0 {
		b.fill()
	}
	set := b.value>>63 != 0
	b.value <<= 1
	b.count--
	return set
}

// number reads n bits.
func (b *bitReader) number(n int) int {
	if b.count < n {
		b.fill()
	}
	v := int(b.value >> 1 >> (63 - n))
	b.value <<= n
	b.count -= n
	return v
}
