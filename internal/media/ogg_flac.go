package media

import (
	"bytes"
	"fmt"

	"github.com/mewkiz/flac/frame"
)

// oggFLAC decodes FLAC in Ogg (RFC 9639, 10.1).
type oggFLAC struct {
	channels, rate int
	bits           uint8 // of a sample
	reader         bytes.Reader
	out            []float32
}

// oggFLACHead is what comes before the signature in the first packet, and how long that is
// with the signature and STREAMINFO.
const (
	oggFLACHead  = 9
	oggFLACFirst = oggFLACHead + 4 + 4 + 34
)

func newOggFLAC(head []byte) (oggStream, error) {
	if len(head) < oggFLACFirst {
		return nil, fmt.Errorf("%w: a bad header of FLAC", ErrDamaged)
	}
	begin := bytes.Clone(head[oggFLACHead:oggFLACFirst])
	begin[4] |= 0x80 // the last block: others are in packets of their own
	stream, err := newFLAC(begin, bytes.NewReader(begin))
	if err != nil {
		return nil, err
	}
	f := &oggFLAC{channels: int(stream.Info.NChannels), rate: int(stream.Info.SampleRate), bits: stream.Info.BitsPerSample}
	if info := f.facts(); info.check() != nil {
		return nil, info.check()
	}
	if f.bits > 24 {
		return f, fmt.Errorf("%w: FLAC with %d bits", ErrUnsupported, f.bits)
	}
	return f, nil
}

func (f *oggFLAC) facts() AudioInfo {
	return AudioInfo{SampleRate: f.rate, Channels: f.channels, Format: "flac"}
}

func (f *oggFLAC) skipped() int64 { return 0 }

func (f *oggFLAC) decode(packet []byte) ([]float32, error) {
	if len(packet) == 0 || packet[0] != 0xff { // a block of metadata
		return nil, nil
	}
	f.reader.Reset(packet)
	part, err := frame.New(&f.reader)
	if err != nil {
		return nil, err
	}
	if part.BitsPerSample == 0 {
		part.BitsPerSample = f.bits
	}
	if part.Channels.Count() != f.channels || part.BitsPerSample != f.bits {
		return nil, fmt.Errorf("%w: a frame of %d channels and %d bits", ErrDamaged, part.Channels.Count(), part.BitsPerSample)
	}
	if err := part.Parse(); err != nil {
		return nil, err
	}
	f.out = f.out[:0]
	scale := 1 / float32(int(1)<<(f.bits-1))
	for i := range int(part.BlockSize) {
		for _, sub := range part.Subframes {
			f.out = append(f.out, float32(sub.Samples[i])*scale)
		}
	}
	return f.out, nil
}
