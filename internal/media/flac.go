package media

import (
	"errors"
	"fmt"
	"io"

	"github.com/mewkiz/flac"
)

// readFLAC decodes a FLAC file (RFC 9639), also one with an ID3 tag before it.
func readFLAC(in *source, info *AudioInfo) error {
	if err := skipID3(in); err != nil {
		return err
	}
	begin := in.position()
	head, err := in.Peek(flacHead)
	if err != nil {
		return err
	}
	stream, err := newFLAC(head, in)
	if err != nil {
		return err
	}
	bits := stream.Info.BitsPerSample
	*info = AudioInfo{SampleRate: int(stream.Info.SampleRate), Channels: int(stream.Info.NChannels), Format: "flac"}
	if err := info.check(); err != nil {
		return err
	}
	stated := int64(stream.Info.NSamples) // 0: not known
	info.measure(stated, in.size-begin)
	if bits > 24 {
		return fmt.Errorf("%w: FLAC with %d bits", ErrUnsupported, bits)
	}
	wave := newWaveform(info.Channels, stated)
	planes := make([][]int32, info.Channels)
	for {
		frame, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return flacError(err)
		}
		// A frame may leave these to STREAMINFO, and must not contradict it.
		if frame.BitsPerSample == 0 {
			frame.BitsPerSample = bits
		}
		if frame.Channels.Count() != info.Channels || frame.BitsPerSample != bits {
			return fmt.Errorf("%w: a frame of %d channels and %d bits", ErrDamaged, frame.Channels.Count(), frame.BitsPerSample)
		}
		if err := in.spend(info.Channels * int(frame.BlockSize)); err != nil {
			return err
		}
		if err := frame.Parse(); err != nil {
			return flacError(err)
		}
		for c, sub := range frame.Subframes {
			planes[c] = sub.Samples
		}
		addPlanes(wave, planes, 1/float64(int64(1)<<(bits-1)))
	}
	if wave.frames == 0 || wave.frames < stated {
		return fmt.Errorf("%w: %d of %d frames are there", ErrDamaged, wave.frames, stated)
	}
	info.measure(wave.frames, in.size-begin)
	info.Waveform = wave.peaks()
	return nil
}

// flacHead is how long the signature and the header of the first block are.
const flacHead = 8

// newFLAC begins to decode. The decoder takes whatever block comes first, and allocates what a comment says that it needs, 128 GiB if it does:
// STREAMINFO must be first (RFC 9639, 8.2).
func newFLAC(head []byte, in io.Reader) (*flac.Stream, error) {
	if len(head) < flacHead || string(head[:4]) != "fLaC" || head[4]&0x7f != 0 || string(head[5:flacHead]) != "\x00\x00\x22" {
		return nil, fmt.Errorf("%w: no STREAMINFO of FLAC", ErrDamaged)
	}
	return flac.New(in)
}

// flacError keeps the facts, unless the file is cut off and so shorter than they say.
func flacError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return undecoded(err)
}
