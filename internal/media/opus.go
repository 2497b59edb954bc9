package media

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/pion/opus"
)

const opusRate = 48_000 // Hz; what granule positions count in (RFC 7845, 4)

// opusStream decodes Opus in Ogg (RFC 7845).
type opusStream struct {
	decoder  opus.Decoder
	channels int
	preSkip  int64
	gain     float32
	tags     bool // passed
	out      []float32
}

// newOpus reads the identification header (RFC 7845, 5.1).
func newOpus(head []byte) (oggStream, error) {
	if len(head) < 19 || head[8]>>4 != 0 || head[9] == 0 {
		return nil, fmt.Errorf("%w: a bad header of Opus", ErrDamaged)
	}
	o := &opusStream{
		channels: int(head[9]), preSkip: int64(binary.LittleEndian.Uint16(head[10:])),
		gain: float32(math.Pow(10, float64(int16(binary.LittleEndian.Uint16(head[16:])))/(20*256))),
	}
	if head[18] != 0 || o.channels > 2 {
		return o, fmt.Errorf("%w: Opus of %d channels", ErrUnsupported, o.channels)
	}
	var err error
	o.decoder, err = opus.NewDecoderWithOutput(opusRate, o.channels)
	o.out = make([]float32, opusRate*120/1000*o.channels) // a packet holds at most 120 ms (RFC 6716, 3.2.5)
	return o, err
}

func (o *opusStream) facts() AudioInfo {
	return AudioInfo{SampleRate: opusRate, Channels: o.channels, Format: "opus"}
}

func (o *opusStream) skipped() int64 { return o.preSkip }

func (o *opusStream) decode(packet []byte) ([]float32, error) {
	if !o.tags {
		o.tags = true
		return nil, nil
	}
	n, err := o.decoder.DecodeToFloat32(packet, o.out)
	if err != nil {
		return nil, err
	}
	values := o.out[:n*o.channels]
	if o.gain != 1 {
		for i := range values {
			values[i] *= o.gain
		}
	}
	return values, nil
}
