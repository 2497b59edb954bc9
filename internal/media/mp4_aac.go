package media

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// configure takes the facts of AudioSpecificConfig, also of what is not decoded.
func (t *mp4Track) configure(config []byte) {
	t.config = config
	bits := binary.BigEndian.Uint16(config)
	kind, rate, channels := bits>>11, int(bits>>7&15), int(bits>>3&15)
	if known, err := parseAACConfig(config); err == nil {
		channels = known.channels
	} else if channels == 7 {
		channels = 8
	}
	if kind != 5 && kind != 29 && rate < len(aacRates) { // of HE-AAC it is half the rate
		t.rate = aacRates[rate]
	}
	if channels > 0 && channels <= 8 && kind != 29 { // parametric stereo has one, and makes two
		t.channels = channels
	}
}

// decodeAAC makes the peaks of a track. Like the other formats it leaves out what the encoder
// put before and behind the sound, as far as an edit list tells. Of HE-AAC the peaks are those
// of the core, the lower half of the band, in which nearly all of the level is.
func (m *mp4Movie) decodeAAC(t *mp4Track, info *AudioInfo) error {
	config, err := parseAACConfig(t.config)
	if err != nil {
		return err
	}
	if t.edits > 1 {
		return fmt.Errorf("%w: an edit list of %d parts", ErrUnsupported, t.edits)
	}
	begin, end := int64(0), t.samples.count*aacFrame
	if !t.fragmented && t.edits == 1 && t.timescale > 0 {
		begin = min(end, inSamples(float64(t.start)/float64(t.timescale), config.rate))
	}
	if !t.fragmented && t.edits == 0 && m.smpb.length > 0 {
		begin = min(end, inSamples(float64(m.smpb.delay)/float64(t.rate), config.rate))
	}
	if length := inSamples(info.Duration, config.rate); length > 0 {
		end = min(end, begin+length)
	}
	wave, decoder, at := newWaveform(config.channels, end-begin), newAACDecoder(config), int64(0)
	err = t.samples.each(m.in, aacPadding, func(sample []byte) error {
		if err := m.in.spend(aacFrame * config.channels); err != nil {
			return err
		}
		planes, err := decoder.decode(sample)
		if err != nil {
			return err
		}
		from, to := max(begin-at, 0), min(end-at, aacFrame)
		at += aacFrame
		if from >= to {
			return nil
		}
		part := make([][]float64, len(planes))
		for i, plane := range planes {
			part[i] = plane[from:to]
		}
		addPlanes(wave, part, 1)
		return nil
	})
	if err != nil {
		return err
	}
	if wave.frames == 0 {
		return undecoded(errors.New("not a single frame"))
	}
	info.Waveform = wave.peaks()
	return nil
}

// inSamples is how many samples there are in so many seconds. A number that no file has is cut off.
func inSamples(seconds float64, rate int) int64 {
	return int64(min(seconds*float64(rate), 1<<40) + 0.5)
}
