package media

import (
	"encoding/binary"
	"errors"
	"hash"
	"hash/adler32"
	"io"
	"math/bits"
)

// errPacked means that a stream is none of zlib.
var errPacked = errors.New("packed data are damaged")

const (
	historySize = 32 << 10 // how far a match may lie behind
	longest     = 258      // bytes of a match
	// codeBits are how many bits of a code are looked up at once. Few codes are longer.
	codeBits = 11
)

// An entry of inflateTable.look: in the lowest byte the bits of the code; then how many
// bits follow it, or that it is a literal or the end; then the literal, or the least length or distance.
const (
	entryLiteral = 0x80 << 8
	entryEnd     = 0x40 << 8
	entryNone    = 0x20 << 8 // a code that means nothing
	entryExtra   = 0x1f
	entryValue   = 16
)

// inflater unpacks a zlib stream (RFC 1950, RFC 1951). It is here because most of the time
// that a PNG takes goes into this, and package compress/flate takes more than half as much
// again: it asks for each byte by a call, and keeps each by one.
type inflater struct {
	in     io.Reader
	input  []byte
	next   int // of input
	end    int // of input
	value  uint64
	count  int // bits of value
	unreal int // of these, how many are behind the end: zeros
	failed error

	output  []byte // what was unpacked, from historySize before what was read on
	read    int
	written int
	summed  int // up to where sum is of
	sum     hash.Hash32

	literals, distances *inflateTable // of the block; nil: none, or one that is stored
	stored              int           // bytes that come as they are
	last                bool          // the block is the last one
	done                bool
}

func newInflater(in io.Reader) (*inflater, error) {
	z := &inflater{in: in, input: make([]byte, 16<<10), output: make([]byte, 4*historySize), sum: adler32.New()}
	z.fill()
	head := z.take(16)
	if method := head & 15; method != 8 || head>>4&15 > 7 || (head&255<<8|head>>8)%31 != 0 || head>>13&1 != 0 {
		return nil, z.because(errPacked)
	}
	return z, nil
}

// because is why the stream cannot be read: rather for what it is read from than err.
func (z *inflater) because(err error) error {
	switch {
	case z.failed != nil && !errors.Is(z.failed, io.EOF):
		return z.failed
	case z.failed != nil && z.count < z.unreal:
		return io.ErrUnexpectedEOF
	}
	return err
}

func (z *inflater) Read(p []byte) (int, error) {
	for z.read == z.written {
		if z.done {
			return 0, io.EOF
		}
		if z.written > 3*historySize {
			copy(z.output, z.output[z.written-historySize:z.written])
			z.read, z.written, z.summed = historySize, historySize, historySize
		}
		if err := z.produce(); err != nil {
			return 0, err
		}
		_, _ = z.sum.Write(z.output[z.summed:z.written])
		z.summed = z.written
		if z.done {
			if err := z.compareSum(); err != nil {
				return 0, err
			}
		}
	}
	n := copy(p, z.output[z.read:z.written])
	z.read += n
	return n, nil
}

// compareSum reads the checksum behind the last block.
func (z *inflater) compareSum() error {
	z.take(z.count & 7)
	z.fill()
	if sum := bits.ReverseBytes32(uint32(z.take(32))); z.count < z.unreal || sum != z.sum.Sum32() {
		return z.because(errPacked)
	}
	return nil
}

// fill makes at least 56 bits ready; behind the end they are 0.
func (z *inflater) fill() {
	if z.next+8 <= z.end {
		z.value |= binary.LittleEndian.Uint64(z.input[z.next:]) << z.count
		z.next += (63 - z.count) >> 3
		z.count |= 56
		return
	}
	for z.count < 56 {
		if z.next == z.end && z.failed == nil {
			z.next = 0
			z.end, z.failed = io.ReadAtLeast(z.in, z.input, 1)
		}
		if z.next < z.end {
			z.value |= uint64(z.input[z.next]) << z.count
			z.next++
		} else {
			z.unreal += 8
		}
		z.count += 8
	}
}

// take takes n bits, which must be ready.
func (z *inflater) take(n int) int {
	v := z.value & (1<<n - 1)
	z.value >>= n
	z.count -= n
	return int(v)
}

// produce unpacks some more.
func (z *inflater) produce() error {
	for begin := z.written; z.written == begin && !z.done; {
		var err error
		switch {
		case z.stored > 0:
			err = z.copyStored()
		case z.literals != nil:
			err = z.block()
		case z.last:
			z.done = true
		default:
			err = z.header()
		}
		if err == nil && z.count < z.unreal {
			err = errPacked
		}
		if err != nil {
			return z.because(err)
		}
	}
	return nil
}

// header reads that of a block (RFC 1951, 3.2.3).
func (z *inflater) header() error {
	z.fill()
	z.last = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.take(z.count & 7)
		z.fill()
		size := z.take(16)
		if z.take(16) != size^0xffff {
			return errPacked
		}
		z.stored = size
	case 1:
		z.literals, z.distances = fixedLiterals, fixedDistances
	case 2:
		return z.tables()
	default:
		return errPacked
	}
	return nil
}

// copyStored copies bytes that are not packed: those that are in value already, and then others.
func (z *inflater) copyStored() error {
	for z.stored > 0 && z.written < len(z.output) {
		if z.count == 0 && z.next < z.end {
			n := copy(z.output[z.written:min(len(z.output), z.written+z.stored)], z.input[z.next:z.end])
			z.next += n
			z.written += n
			z.stored -= n
			continue
		}
		if z.count == 0 {
			z.value = 0 // fill may have left there what comes next
			z.fill()
		}
		z.output[z.written] = byte(z.take(8))
		z.written++
		z.stored--
		if z.count < z.unreal {
			return errPacked
		}
		if z.count < 8 {
			z.value = 0
		}
	}
	return nil
}

// block unpacks as much of a block as there is room for. What changes with each code is
// held in variables of its own: it is where the time goes.
func (z *inflater) block() error {
	value, count, at, out := z.value, z.count, z.written, z.output
	literals, distances := z.literals, z.distances
	for at+longest <= len(out) {
		if count < 48 { // the most that a match takes
			if z.value, z.count = value, count; z.count < z.unreal {
				return errPacked
			}
			z.fill()
			value, count = z.value, z.count
		}
		e := literals.look[value&(1<<codeBits-1)]
		if e == 0 {
			e = literals.long(value)
		}
		value >>= e & 63
		count -= int(e & 63)
		if e&entryLiteral != 0 {
			out[at] = byte(e >> entryValue)
			at++
			continue
		}
		if e&entryEnd != 0 {
			z.literals = nil
			break
		}
		extra := e >> 8 & entryExtra
		length := int(e>>entryValue) + int(value&(1<<extra-1))
		value >>= extra
		d := distances.look[value&(1<<codeBits-1)]
		if d == 0 {
			d = distances.long(value)
		}
		if e == 0 || d == 0 || (e|d)&entryNone != 0 {
			return errPacked
		}
		value >>= d & 63
		more := d >> 8 & entryExtra
		distance := int(d>>entryValue) + int(value&(1<<more-1))
		value >>= more
		count -= int(extra + d&63 + more)
		if distance > at {
			return errPacked
		}
		repeat(out[at-distance:at+length], distance)
		at += length
	}
	z.value, z.count, z.written = value, count, at
	return nil
}

// repeat fills what is behind the first n bytes with these, again and again.
func repeat(b []byte, n int) {
	for n < len(b) {
		n += copy(b[n:], b[:n])
	}
}
