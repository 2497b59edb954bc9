package media

import (
	"encoding/binary"
	"fmt"
)

// mp4Fragments is what is known while fragments are read (ISO/IEC 14496-12, 8.8). They are
// what recorders write that cannot go back to fill in a length.
type mp4Fragments struct {
	defaults map[uint32]mp4Default // by track, of trex
	track    *mp4Track             // of the traf that is read; nil: none that is known
	mp4Default

	moof  int64 // where it begins
	trafs int   // in it
	data  int64 // where the samples begin that trun's offsets count from
	next  int64 // where the last run ended
}

// mp4Default is what holds for a sample where trun does not say.
type mp4Default struct{ ticks, size uint32 }

func (f *mp4Fragments) begin(moof int64) { f.moof, f.trafs = moof, 0 }

// Flags of tfhd and trun, of fields that are there (8.8.7, 8.8.8).
const (
	tfhdBaseOffset  = 0x000001
	tfhdDescription = 0x000002
	tfhdDuration    = 0x000008
	tfhdSize        = 0x000010
	tfhdBaseIsMoof  = 0x020000
	trunOffset      = 0x000001
	trunFirstFlags  = 0x000004
	trunDuration    = 0x000100
	trunSize        = 0x000200
	trunPerSample   = 0x000f00 // duration, size, flags, composition offset
)

// timing reads a box that tells how long samples are.
func (m *mp4Movie) timing(kind string, at, end int64) error {
	f := &m.fragments
	switch kind {
	case "trex":
		b, err := m.bytes(at, end, 20)
		if err != nil {
			return err
		}
		if f.defaults == nil {
			f.defaults = make(map[uint32]mp4Default)
		}
		f.defaults[binary.BigEndian.Uint32(b[4:])] = mp4Default{binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])}
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
	f.track, f.mp4Default = nil, f.defaults[id]
	for i := range m.tracks {
		if m.tracks[i].id == id {
			f.track = &m.tracks[i]
		}
	}
	f.data = f.moof
	if f.trafs++; f.trafs > 1 && flags&(tfhdBaseOffset|tfhdBaseIsMoof) == 0 && f.track != nil {
		f.track.samples.refuse("fragments behind each other's data")
	}
	field := int64(8)
	for _, flag := range []uint32{tfhdBaseOffset, tfhdDescription, tfhdDuration, tfhdSize} {
		if flags&flag == 0 {
			continue
		}
		width := int64(4)
		if flag == tfhdBaseOffset {
			width = 8
		}
		if b, err = m.bytes(at, end, field+width); err != nil {
			return err
		}
		switch value := b[field:]; flag {
		case tfhdBaseOffset:
			f.data = int64(binary.BigEndian.Uint64(value) & (1<<62 - 1))
		case tfhdDuration:
			f.ticks = binary.BigEndian.Uint32(value)
		case tfhdSize:
			f.size = binary.BigEndian.Uint32(value)
		}
		field += width
	}
	f.next = f.data
	return nil
}

// run adds the samples of a trun to those of its track.
func (m *mp4Movie) run(t *mp4Track, at, end int64) error {
	b, err := m.bytes(at, end, 8)
	if err != nil {
		return err
	}
	t.fragmented = true
	f := &m.fragments
	flags, count := binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:]))
	at += 8
	if flags&trunOffset != 0 {
		if b, err = m.bytes(at, end, 4); err != nil {
			return err
		}
		f.next = f.data + int64(int32(binary.BigEndian.Uint32(b)))
		at += 4
	}
	if flags&trunFirstFlags != 0 {
		at += 4
	}
	width, sizeAt := int64(0), int64(0) // of a sample's fields: duration, size, two others
	for flag := uint32(trunDuration); flag&trunPerSample != 0; flag <<= 1 {
		if flag == trunSize {
			sizeAt = width
		}
		if flags&flag != 0 {
			width += 4
		}
	}
	if count*width > end-at {
		return fmt.Errorf("%w: a run of %d samples", errBox, count)
	}
	decodes := m.decodes(t)
	if decodes {
		t.samples.fragment(max(f.next, 0), uint32(count))
	}
	if flags&(trunDuration|trunSize) == 0 {
		t.played += float64(count) * float64(f.ticks)
		f.next += count * int64(f.size)
		for ; decodes && count > 0 && t.samples.refused == nil; count-- {
			t.samples.sample(int64(f.size))
		}
		return nil
	}
	return m.table(at, end, count, width, func(entry []byte) {
		ticks, size := f.ticks, f.size
		if flags&trunDuration != 0 {
			ticks = binary.BigEndian.Uint32(entry)
		}
		if flags&trunSize != 0 {
			size = binary.BigEndian.Uint32(entry[sizeAt:])
		}
		t.played += float64(ticks)
		f.next += int64(size)
		if decodes {
			t.samples.sample(int64(size))
		}
	})
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
	buffer := make([]byte, min(count, atOnce)*width)
	for ; count > 0; count -= atOnce {
		n := min(count, atOnce)
		b := buffer[:n*width]
		if err := m.read(b, at); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[width:] {
			add(b)
		}
		at += n * width
	}
	return nil
}
