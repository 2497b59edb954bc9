package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Encodings in a WAV file's fmt chunk (Microsoft, mmreg.h).
const (
	wavPCM        = 0x0001
	wavFloat      = 0x0003
	wavALaw       = 0x0006
	wavMuLaw      = 0x0007
	wavExtensible = 0xfffe
)

// wavFormat is a fmt chunk.
type wavFormat struct {
	encoding int
	channels int
	rate     int
	perSec   int64 // bytes per second, as the file says
	block    int   // bytes of a frame
	bits     int   // of a sample
	frames   int   // in a block, of compressed encodings
}

// readWAV reads the chunks of a WAV file (Microsoft's Multimedia Programming Interface
// 1.0, chapter 3) up to the sound.
func readWAV(in *source, info *AudioInfo) error {
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	if string(head[:4]) != "RIFF" || string(head[8:]) != "WAVE" {
		return errors.New("no RIFF header")
	}
	var format *wavFormat
	for {
		if _, err := io.ReadFull(in, head[:8]); err != nil {
			return err
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		switch string(head[:4]) {
		case "fmt ":
			var err error
			if format, err = readWAVFormat(in, size); err != nil {
				return err
			}
		case "data":
			if format == nil {
				return errors.New("no fmt chunk before the sound")
			}
			// A program that writes into a pipe does not know the size: it writes 0, or a
			// very large one.
			if left := in.size - in.position(); size == 0 || size > left {
				size = left
			}
			return format.read(in, size, info)
		default:
			in.skip(size)
		}
		in.skip(size % 2)
	}
}

func readWAVFormat(in *source, size int64) (*wavFormat, error) {
	if size < 14 {
		return nil, errors.New("short fmt chunk")
	}
	var b [40]byte
	n := min(size, int64(len(b)))
	if _, err := io.ReadFull(in, b[:n]); err != nil {
		return nil, err
	}
	in.skip(size - n)
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	f := &wavFormat{
		encoding: u16(0), channels: u16(2), rate: int(binary.LittleEndian.Uint32(b[4:])),
		perSec: int64(binary.LittleEndian.Uint32(b[8:])), block: u16(12), bits: u16(14),
	}
	switch {
	case f.encoding == wavExtensible && n >= 26:
		f.encoding = u16(24) // the sub-format's first bytes are the plain code
	case n >= 20:
		f.frames = u16(18)
	}
	return f, nil
}

// read decodes a data chunk.
func (f *wavFormat) read(in *source, size int64, info *AudioInfo) error {
	*info = AudioInfo{SampleRate: f.rate, Channels: f.channels, Format: "wav"}
	if err := info.check(); err != nil {
		return err
	}
	whole, real := f.decoders()
	if whole == nil && real == nil {
		if f.frames > 0 && f.block > 0 {
			info.measure(size/int64(f.block)*int64(f.frames), size)
		} else if f.perSec > 0 {
			info.Duration, info.Bitrate = float64(size)/float64(f.perSec), 8*f.perSec
		}
		return fmt.Errorf("%w: WAV encoding %#x with %d bits", ErrUnsupported, f.encoding, f.bits)
	}
	if width := f.width(); f.block != width*f.channels {
		return fmt.Errorf("%w: %d bytes for a frame of %d samples of %d bytes", ErrDamaged, f.block, f.channels, width)
	}
	frames := size / int64(f.block)
	info.measure(frames, frames*int64(f.block))
	wave := newWaveform(f.channels, frames)
	wave.width = max(1, frames/Parts) // as many will come: the buckets are not needed, or as long as the parts
	var err error
	if whole != nil {
		err = readFrames(in, f, frames, whole, wave, 1.0/(1<<31))
	} else {
		err = readFrames(in, f, frames, real, wave, 1)
	}
	if err != nil {
		return err
	}
	info.Waveform = wave.peaks()
	return nil
}

// readFrames adds frames to a waveform, of whose samples decode makes numbers.
func readFrames[S sample](in *source, f *wavFormat, frames int64, decode func(values []S, raw []byte), wave *waveform, scale float64) error {
	const atOnce = 4096 // frames, fewer of many channels
	batch := max(1, atOnce/f.channels)
	raw, values := make([]byte, batch*f.block), make([]S, batch*f.channels)
	for left := frames; left > 0; {
		n := min(left, int64(batch))
		part, count := raw[:n*int64(f.block)], int(n)*f.channels
		if _, err := io.ReadFull(in, part); err != nil {
			return err
		}
		decode(values[:count], part)
		if err := in.spend(count); err != nil {
			return err
		}
		addFrames(wave, values[:count], scale)
		left -= n
	}
	return nil
}

// width is how many bytes a sample has.
func (f *wavFormat) width() int { return (f.bits + 7) / 8 }

// decoders returns what makes numbers of samples: of whole ones, full scale is 1 << 31, of real ones 1. Both are nil if nothing does.
func (f *wavFormat) decoders() (whole func([]int32, []byte), real func([]float64, []byte)) {
	le := binary.LittleEndian
	switch width := f.width(); {
	case f.encoding == wavPCM && width == 1:
		whole = each(width, func(b []byte) int32 { return (int32(b[0]) - 128) << 24 })
	case f.encoding == wavPCM && width == 2:
		whole = func(values []int32, raw []byte) { // most files; a call for each sample takes three times as long
			raw = raw[:2*len(values)]
			for i := range values {
				values[i] = int32(le.Uint16(raw[2*i:])) << 16
			}
		}
	case f.encoding == wavPCM && width == 3:
		whole = each(width, func(b []byte) int32 { return int32(uint32(b[0])<<8 | uint32(b[1])<<16 | uint32(b[2])<<24) })
	case f.encoding == wavPCM && width == 4:
		whole = each(width, func(b []byte) int32 { return int32(le.Uint32(b)) })
	case f.encoding == wavALaw && f.bits == 8:
		whole = each(width, func(b []byte) int32 { return aLaw(b[0]) << 16 })
	case f.encoding == wavMuLaw && f.bits == 8:
		whole = each(width, func(b []byte) int32 { return muLaw(b[0]) << 16 })
	case f.encoding == wavFloat && f.bits == 32:
		real = each(width, func(b []byte) float64 { return float64(math.Float32frombits(le.Uint32(b))) })
	case f.encoding == wavFloat && f.bits == 64:
		real = each(width, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) })
	}
	return whole, real
}

// each decodes samples of so many bytes one by one.
func each[S sample](width int, decode func([]byte) S) func(values []S, raw []byte) {
	return func(values []S, raw []byte) {
		for i := range values {
			values[i] = decode(raw[i*width:])
		}
	}
}

// aLaw expands a byte by ITU-T G.711, table 1: 3 bits of exponent, 4 of mantissa, every
// second bit inverted. Its 13 bits are put into the high ones of 16.
func aLaw(b byte) int32 {
	b ^= 0x55
	exponent, value := b>>4&7, int32(b&15)<<4+8
	if exponent > 0 {
		value = (value + 0x100) << (exponent - 1)
	}
	if b&0x80 == 0 {
		value = -value
	}
	return value
}

// muLaw expands a byte by ITU-T G.711, table 2: all bits inverted, biased by 33 of 14
// bits. They are put into the high ones of 16.
func muLaw(b byte) int32 {
	b = ^b
	value := (int32(b&15)<<3+0x84)<<(b>>4&7) - 0x84
	if b&0x80 != 0 {
		value = -value
	}
	return value
}
