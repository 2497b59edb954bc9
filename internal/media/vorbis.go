package media

import (
	"fmt"

	"github.com/jfreymuth/vorbis"
)

// maxVorbisChannels are those whose order Vorbis defines (Vorbis I, 4.3.9).
const maxVorbisChannels = 8

// vorbisStream decodes Vorbis in Ogg (Vorbis I, A.2).
type vorbisStream struct {
	decoder vorbis.Decoder
	headers int
	out     []float32
}

func newVorbis(head []byte) (oggStream, error) {
	v := &vorbisStream{headers: 1}
	if len(head) < 30 {
		return nil, fmt.Errorf("%w: a bad header of Vorbis", ErrDamaged)
	}
	if short, long := head[28]&15, head[28]>>4; short < 6 || short > long || long > 13 { // Vorbis I, 4.2.2
		return nil, fmt.Errorf("%w: blocks of 2^%d and 2^%d", ErrDamaged, short, long)
	}
	if err := v.decoder.ReadHeader(head); err != nil {
		return nil, err
	}
	info := v.facts()
	if err := info.check(); err != nil {
		return nil, err
	}
	if info.Channels > maxVorbisChannels {
		return v, fmt.Errorf("%w: Vorbis of %d channels", ErrUnsupported, info.Channels)
	}
	return v, nil
}

func (v *vorbisStream) facts() AudioInfo {
	return AudioInfo{SampleRate: v.decoder.SampleRate(), Channels: v.decoder.Channels(), Format: "vorbis"}
}

func (v *vorbisStream) skipped() int64 { return 0 }

func (v *vorbisStream) decode(packet []byte) ([]float32, error) {
	switch v.headers++; v.headers {
	case 2: // comments, which the decoder does not need
		return nil, nil
	case 3:
		setup, err := vorbisSetup(packet)
		if err != nil {
			return nil, err
		}
		if err := v.decoder.ReadHeader(setup); err != nil {
			return nil, err
		}
		if !v.decoder.HeadersRead() {
			return nil, fmt.Errorf("%w: no setup header of Vorbis", ErrDamaged)
		}
		v.out = make([]float32, v.decoder.BufferSize())
		return nil, nil
	}
	if len(packet) == 0 { // holds nothing, and is not an error (Vorbis I, 4.3)
		return nil, nil
	}
	return v.decoder.DecodeInto(packet, v.out)
}
