package media

import (
	"encoding/binary"
	"fmt"
)

// mp4Fragments is what is known while fragments are read (ISO/IEC 14496-12, 8.8). They are
// what recorders write that cannot go back to fill in a length.
type mp4Fragments struct {
	defaults map[uint32]uint32 // ticks of a sample by track, of trex
	track    *mp4Track         // of the traf that is read; nil: none that is known
	ticks    uint32            // of a sample, where trun does not say
}

// Flags of tfhd and trun, of fields that are there (8.8.7, 8.8.8).
const (
	tfhdBaseOffset  = 0x000001
	tfhdDescription = 0x000002
	tfhdDuration    = 0x000008
	trunOffset      = 0x000001
	trunFirstFlags  = 0x000004
	trunDuration    = 0x000100
	trunPerSample   = 0x000f00 // duration, size, flags, composition offset
)

// timing reads a box that tells how long samples are.
func (m *mp4Movie) timing(kind string, at, end int64) error {
	f := &m.fragments
	switch kind {
	case "trex":
		b, err := m.bytes(at, end, 16)
		if err != nil {
			return err
		}
		if f.defaults == nil {
			f.defaults = make(map[uint32]uint32)
		}
		f.defaults[binary.BigEndian.Uint32(b[4:])] = binary.BigEndian.Uint32(b[12:])
	case "tfhd":
		return m.fragmentHeader(at, end)
	case "trun":
		if f.track != nil {
			return m.run(f.track, at, end)
		}
	}
	return nil
}

// fragmentHeader reads tfhd: of which track the runs are that follow.
func (m *mp4Movie) fragmentHeader(at, end int64) error {
	b, err := m.bytes(at, end, 8)
	if err != nil {
		return err
	}
	flags, id := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	f := &m.fragments
	f.track, f.ticks = nil, f.defaults[id]
	for i := range m.tracks {
		if m.tracks[i].id == id {
			f.track = &m.tracks[i]
		}
	}
	if flags&tfhdDuration == 0 {
		return nil
	}
	field := int64(8)
	if flags&tfhdBaseOffset != 0 {
		field += 8
	}
	if flags&tfhdDescription != 0 {
		field += 4
	}
	if b, err = m.bytes(at, end, field+4); err == nil {
		f.ticks = binary.BigEndian.Uint32(b[field:])
	}
	return err
}

// run adds up the samples of a trun.
func (m *mp4Movie) run(t *mp4Track, at, end int64) error {
	b, err := m.bytes(at, end, 8)
	if err != nil {
		return err
	}
	t.fragmented = true
	flags, count := binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:]))
	at += 8
	for _, flag := range []uint32{trunOffset, trunFirstFlags} {
		if flags&flag != 0 {
			at += 4
		}
	}
	width := int64(0) // of a sample's fields, of which the duration is the first
	for flag := uint32(trunDuration); flag&trunPerSample != 0; flag <<= 1 {
		if flags&flag != 0 {
			width += 4
		}
	}
	if count*width > end-at {
		return fmt.Errorf("%w: a run of %d samples", errBox, count)
	}
	if flags&trunDuration == 0 {
		t.played += float64(count) * float64(m.fragments.ticks)
		return nil
	}
	return m.table(at, end, count, width, func(entry []byte) { t.played += float64(binary.BigEndian.Uint32(entry)) })
}

// sampleTimes adds up stts, the samples that are in no fragment (8.6.1.2).
func (m *mp4Movie) sampleTimes(t *mp4Track, at, end int64) error {
	b, err := m.bytes(at, end, 8)
	if err != nil {
		return err
	}
	return m.table(at+8, end, int64(binary.BigEndian.Uint32(b[4:])), 8, func(entry []byte) {
		t.played += float64(binary.BigEndian.Uint32(entry)) * float64(binary.BigEndian.Uint32(entry[4:]))
	})
}

// table gives each of count entries of width bytes to add. It holds some kilobytes of them at once.
func (m *mp4Movie) table(at, end, count, width int64, add func(entry []byte)) error {
	if count*width > end-at {
		return fmt.Errorf("%w: %d entries", errBox, count)
	}
	const atOnce = 256
	for ; count > 0; count -= atOnce {
		n := min(count, atOnce)
		b, err := m.bytes(at, end, n*width)
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[width:] {
			add(b)
		}
		at += n * width
	}
	return nil
}
