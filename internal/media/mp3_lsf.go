package media

import "fmt"

// lsfIndex is the bitrate, by its index, of the frames that lsfFrames makes: 160 kbit/s.
const lsfIndex = 14

// miscut says whether go-mp3 takes a frame for one byte shorter than it is: of MPEG-2 it
// halves the length after it has added the padding, not before. At 22.05 kHz these are the
// padded ones of 8, 16, 24, 32, 80, 96 and 160 kbit/s.
func (h mp3Header) miscut() bool {
	return h.version == 2 && h.padded && h.samples/4*1000*h.kbits/h.rate%2 == 0
}

// lsfFrames makes other frames of those of MPEG-2, which hold the same sound and which
// go-mp3 cuts right: all without padding and of the highest bitrate, so that the data of
// each fit into it, and hardly any lie in the one before (ISO/IEC 13818-3, 2.4.1.7).
type lsfFrames struct {
	reservoir []byte // data of the frames that came, the last maxBackward bytes
	pending   []byte // the frame that was made last: the next may still put data into its end
	used      int    // bytes of pending
}

// maxBackward is how far data may lie before their frame, bytes: main_data_begin has 8 bits.
const maxBackward = 255

// next takes a frame and returns the one that was made of the frame before, or nothing.
// ErrUnsupported: it has more data than can be placed, which few of 160 kbit/s have.
func (l *lsfFrames) next(frame []byte, h mp3Header) ([]byte, error) {
	body := 4
	if frame[1]&1 == 0 {
		body += 2 // a checksum
	}
	if len(frame) < body+h.side {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, len(frame))
	}
	side, data := frame[body:body+h.side], frame[body+h.side:]
	made := make([]byte, h.samples/8*1000*mp3Bitrates2[lsfIndex]/h.rate)
	copy(made, []byte{frame[0], frame[1] | 1, lsfIndex<<4 | frame[2]&0x0c, frame[3]})
	used, backward := 4+h.side, int(side[0])
	if backward <= len(l.reservoir) { // else it is silence: its data were in a frame that is not there
		copy(made[4:], side)
		made[4] = 0
		have := append(l.reservoir[len(l.reservoir)-backward:len(l.reservoir):len(l.reservoir)], data...)
		need := have[:min(len(have), dataLength(side, h.channels))]
		if excess := len(need) - (len(made) - used); excess > 0 {
			if excess > maxBackward || excess > len(l.pending)-l.used {
				return nil, fmt.Errorf("%w: MPEG-2 layer III whose frames are too full", ErrUnsupported)
			}
			copy(l.pending[len(l.pending)-excess:], need)
			made[4], need = byte(excess), need[excess:]
		}
		used += copy(made[used:], need)
	}
	l.reservoir = append(l.reservoir, data...)
	l.reservoir = l.reservoir[max(0, len(l.reservoir)-maxBackward):]
	made, l.pending, l.used = l.pending, made, used
	return made, nil
}

// dataLength is how many bytes of data side information announces, of MPEG-2: it has 9
// bits before those of a single channel or 10 before two, which are 63 each and begin with
// 12 of part2_3_length.
func dataLength(side []byte, channels int) int {
	bits := 0
	for c := range channels {
		for i := range 12 {
			at := 8 + channels + 63*c + i
			bits += int(side[at/8]>>(7-at%8)&1) << (11 - i)
		}
	}
	return (bits + 7) / 8
}
