package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// mp4Track is what the boxes of a track of sound tell.
type mp4Track struct {
	sound     bool
	codec     string // of its first sample entry
	rate      int
	channels  int
	timescale int64 // ticks in a second
	duration  int64 // ticks
	edited    int64 // ticks of the movie that an edit list plays, 0 without one
	start     int64 // ticks before what it plays
	edits     int   // parts that it plays

	id         uint32
	fragmented bool
	played     float64 // ticks, the sum of all samples

	config  []byte     // AudioSpecificConfig, nil where there is none
	samples mp4Samples // of the first track of sound, where it is AAC
}

// mp4Depth bounds how deep boxes are followed, mp4Boxes how many are: eight hours in
// fragments of a second, of seven boxes each.
const (
	mp4Depth  = 8
	mp4Boxes  = 200_000
	mp4Window = 4 << 10 // bytes that are read at once
)

// mp4Movie collects what moov tells (ISO/IEC 14496-12, 8).
type mp4Movie struct {
	in        *source
	timescale int64
	tracks    []mp4Track
	media     int64 // bytes in mdat
	smpb      mp4Gapless
	boxes     int
	fragments mp4Fragments
	window    []byte // of the file, from begin on
	begin     int64
}

// readMP4 reads the first track of sound of an MP4 file, and decodes it where it is AAC-LC. Of all
// else (docs/design/0009-audio-decoders.md) the answer is ErrUnsupported with the facts, or ErrDamaged.
func readMP4(in *source, info *AudioInfo) error {
	m := &mp4Movie{in: in}
	if err := m.walk(0, in.size, 0); err != nil {
		return err
	}
	for i := range m.tracks {
		t := &m.tracks[i]
		if !t.sound {
			continue
		}
		*info = AudioInfo{SampleRate: t.rate, Channels: t.channels, Format: t.codec}
		if err := info.check(); err != nil {
			return err
		}
		duration := 0.0
		switch {
		case t.fragmented && t.timescale > 0: // an edit list is then of what is in no fragment
			duration = t.played / float64(t.timescale)
		case t.edited > 0 && m.timescale > 0:
			duration = float64(t.edited) / float64(m.timescale)
		case t.edits == 0 && m.smpb.length > 0:
			duration = float64(m.smpb.length) / float64(t.rate)
		case t.timescale > 0:
			duration = float64(t.duration) / float64(t.timescale)
		}
		info.lasts(duration, m.media)
		if t.config != nil && t.samples.count > 0 {
			return m.decodeAAC(t, info)
		}
		if t.samples.refused != nil {
			return t.samples.refused
		}
		return fmt.Errorf("%w: %s in MP4", ErrUnsupported, t.codec)
	}
	return fmt.Errorf("%w: no track of sound", ErrDamaged)
}

var errBox = errors.New("a box is longer than what holds it")

// walk goes over the boxes between two offsets.
func (m *mp4Movie) walk(at, end int64, depth int) error {
	for at+8 <= end {
		if m.boxes++; m.boxes > mp4Boxes || depth > mp4Depth {
			return fmt.Errorf("%w: too many boxes", ErrDamaged)
		}
		var head [16]byte
		if err := m.read(head[:min(16, end-at)], at); err != nil {
			return err
		}
		size, header := int64(binary.BigEndian.Uint32(head[:])), int64(8)
		switch size {
		case 0:
			size = end - at
		case 1:
			size, header = int64(binary.BigEndian.Uint64(head[8:])), 16
		}
		kind := string(head[4:8])
		if kind == "\x00\x00\x00\x00" && depth == 0 { // padding
			return nil
		}
		if size < header || size > end-at {
			return errBox
		}
		if kind == "moof" {
			m.fragments.begin(at)
		}
		if err := m.box(kind, at+header, at+size, depth); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// box reads one that matters.
func (m *mp4Movie) box(kind string, at, end int64, depth int) error {
	switch kind {
	case "mdat":
		m.media += end - at
		return nil
	case "trak":
		m.tracks = append(m.tracks, mp4Track{})
		return m.walk(at, end, depth+1)
	case "moov", "mdia", "minf", "stbl", "edts", "mvex", "moof", "traf":
		return m.walk(at, end, depth+1)
	case "udta":
		return m.tags(at, end, depth)
	case "mvhd":
		timescale, _, err := m.times(at, end)
		m.timescale = timescale
		return err
	case "trex", "tfhd", "trun":
		return m.timing(kind, at, end)
	}
	if len(m.tracks) == 0 {
		return nil
	}
	t := &m.tracks[len(m.tracks)-1]
	switch kind {
	case "mdhd":
		var err error
		t.timescale, t.duration, err = m.times(at, end)
		return err
	case "tkhd":
		b, err := m.bytes(at, end, 24)
		if err != nil {
			return err
		}
		t.id = binary.BigEndian.Uint32(b[12:])
		if b[0] == 1 {
			t.id = binary.BigEndian.Uint32(b[20:])
		}
		return nil
	case "stts":
		return m.sampleTimes(t, at, end)
	case "hdlr":
		b, err := m.bytes(at, end, 12)
		t.sound = err == nil && string(b[8:]) == "soun"
		return err
	case "elst":
		return m.edits(t, at, end)
	case "stsd":
		return m.sampleEntry(t, at, end)
	case "stsz", "stsc", "stco", "co64":
		if m.decodes(t) {
			return m.sampleTable(&t.samples, kind, at, end)
		}
	}
	return nil
}

// decodes says whether the sound of a track will be decoded: the first, of AAC.
func (m *mp4Movie) decodes(t *mp4Track) bool {
	for i := range m.tracks {
		if m.tracks[i].sound {
			return &m.tracks[i] == t && t.config != nil
		}
	}
	return false
}

func (m *mp4Movie) bytes(at, end, n int64) ([]byte, error) {
	if end-at < n {
		return nil, errBox
	}
	b := make([]byte, n)
	return b, m.read(b, at)
}

// read reads all of b, by a window: a step back to what a header holds would be another request to the bucket.
func (m *mp4Movie) read(b []byte, at int64) error {
	if at < m.begin || at+int64(len(b)) > m.begin+int64(len(m.window)) {
		size := int(max(0, min(m.in.size-at, max(mp4Window, int64(len(b))))))
		if cap(m.window) < size {
			m.window = make([]byte, size)
		}
		m.window, m.begin = m.window[:size], at
		if n, err := m.in.ReadAt(m.window, at); err != nil && n < len(m.window) {
			return err
		}
	}
	if copy(b, m.window[at-m.begin:]) < len(b) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// times reads timescale and duration of mvhd or mdhd (8.2.2, 8.4.2).
func (m *mp4Movie) times(at, end int64) (timescale, duration int64, err error) {
	b, err := m.bytes(at, end, 20)
	if err != nil {
		return 0, 0, err
	}
	if b[0] == 1 {
		if b, err = m.bytes(at, end, 32); err != nil {
			return 0, 0, err
		}
		return int64(binary.BigEndian.Uint32(b[20:])), int64(binary.BigEndian.Uint64(b[24:]) &^ (1 << 63)), nil
	}
	duration = int64(binary.BigEndian.Uint32(b[16:]))
	if duration == 1<<32-1 { // not known
		duration = 0
	}
	return int64(binary.BigEndian.Uint32(b[12:])), duration, nil
}

// edits adds up an edit list's parts (8.6.6). Encoders write one entry, or an empty one before it.
func (m *mp4Movie) edits(t *mp4Track, at, end int64) error {
	b, err := m.bytes(at, end, 8)
	if err != nil {
		return err
	}
	width := int64(12)
	if b[0] == 1 {
		width = 20
	}
	count := min(int64(binary.BigEndian.Uint32(b[4:])), 16)
	for i := range count {
		entry, err := m.bytes(at+8+i*width, end, width)
		if err != nil {
			return err
		}
		length, start := int64(binary.BigEndian.Uint32(entry)), int64(int32(binary.BigEndian.Uint32(entry[4:])))
		if b[0] == 1 {
			length, start = int64(binary.BigEndian.Uint64(entry)&(1<<56-1)), int64(binary.BigEndian.Uint64(entry[8:]))
		}
		if start >= 0 {
			t.edited += length
			t.start = start
			t.edits++
		}
	}
	return nil
}

// sampleEntry reads the first one of stsd (8.5.2; sound in 12.2.3).
func (m *mp4Movie) sampleEntry(t *mp4Track, at, end int64) error {
	if !t.sound {
		return nil
	}
	b, err := m.bytes(at, end, 8+36)
	if err != nil {
		return err
	}
	entry := b[8:]
	t.codec = string(entry[4:8])
	switch t.codec {
	case "mp4a":
		t.codec = "aac"
	case "alac":
	default:
		t.codec = "mp4"
	}
	t.channels = int(binary.BigEndian.Uint16(entry[24:]))
	t.rate = int(binary.BigEndian.Uint16(entry[32:]))
	if t.rate == 0 { // above 65535 Hz it does not fit: sound is counted in samples
		t.rate = int(min(t.timescale, maxSampleRate))
	}
	if t.codec == "aac" { // writers put 2 channels here whatever there is: esds knows better
		return m.audioConfig(t, at+8+36, end)
	}
	return nil
}

// aacRates are the rates by their index (ISO/IEC 14496-3, table 1.18).
var aacRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// audioConfig reads AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) from the esds box behind
// a sample entry, in which descriptors lie in descriptors (14496-1, 7.2.6).
func (m *mp4Movie) audioConfig(t *mp4Track, at, end int64) error {
	n := min(end-at, 256)
	b, err := m.bytes(at, end, n)
	if err != nil {
		return err
	}
	start := bytes.Index(b, []byte("esds"))
	if start < 0 || len(b) < start+8 {
		return nil
	}
	b = b[start+8:] // version and flags
	for {
		tag, body, ok := descriptor(b)
		switch {
		case !ok:
			return nil
		case tag == 3 && len(body) > 3:
			b = body[3:]
		case tag == 4 && len(body) > 13:
			b = body[13:]
		case tag == 5 && len(body) >= 2:
			t.configure(bytes.Clone(body))
			return nil
		default:
			return nil
		}
	}
}

// descriptor splits off a tag, its length in groups of 7 bits, and what it holds; the rest
// of the box is left out.
func descriptor(b []byte) (tag byte, body []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, false
	}
	tag, length := b[0], 0
	for i := 1; i < min(len(b), 5); i++ {
		length = length<<7 | int(b[i]&0x7f)
		if b[i]&0x80 == 0 {
			return tag, b[i+1 : min(len(b), i+1+length)], true
		}
	}
	return 0, nil, false
}
