package media

import (
	"bytes"
	"fmt"
)

// mp4Gapless is what iTunes writes where others write an edit list: samples that the encoder
// put before the sound, and those of the sound. Zero where it is not there.
type mp4Gapless struct{ delay, length int64 }

// tags looks for iTunSMPB in a movie's tags. They tell nothing else that matters: what is
// wrong with them is not wrong with the sound.
func (m *mp4Movie) tags(at, end int64, depth int) error {
	if err := m.tagBoxes(at, end, depth); m.in.failed != nil {
		return err
	}
	return nil
}

// tagBoxes goes over udta, meta in it (ISO/IEC 14496-12, 8.11.1), ilst in that, and what is
// in ilst by a name of its own ("----").
func (m *mp4Movie) tagBoxes(at, end int64, depth int) error {
	const most = 512 // bytes of one that is looked at
	for at+8 <= end {
		head, err := m.bytes(at, end, 8)
		if err != nil {
			return err
		}
		size := int64(head[0])<<24 | int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
		if m.boxes++; m.boxes > mp4Boxes || depth > mp4Depth || size < 8 || size > end-at {
			return errBox
		}
		switch string(head[4:]) {
		case "meta":
			err = m.tagBoxes(at+12, at+size, depth+1) // behind its version
		case "ilst":
			err = m.tagBoxes(at+8, at+size, depth+1)
		case "----":
			var tag []byte
			tag, err = m.bytes(at, end, min(size, most))
			m.gapless(tag)
		}
		if err != nil {
			return err
		}
		at += size
	}
	return nil
}

// gapless reads numbers in hexadecimal: of no use, delay, padding, length.
func (m *mp4Movie) gapless(tag []byte) {
	name := bytes.Index(tag, []byte("iTunSMPB"))
	if name < 0 {
		return
	}
	data := bytes.Index(tag[name:], []byte("data"))
	if data < 0 || len(tag) < name+data+12 {
		return
	}
	var zero, delay, padding, length int64
	n, err := fmt.Sscanf(string(tag[name+data+12:]), "%x %x %x %x", &zero, &delay, &padding, &length)
	if err == nil && n == 4 && delay >= 0 && delay < 1<<20 && length > 0 && length < 1<<40 {
		m.smpb = mp4Gapless{delay, length}
	}
}
