package media

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// lsfFrame is a frame of MPEG-2 at 22.05 kHz with data that begin so many bytes before it.
func lsfFrame(index, padding, channels, backward, bits int, body func(n int) []byte) ([]byte, mp3Header) {
	head := []byte{0xff, 0xf3, byte(index<<4 | padding<<1), byte((2 - channels) * 0xc0)}
	h, _ := parseMP3Header(head)
	side := make([]byte, h.side)
	side[0] = byte(backward)
	for c := range channels {
		share := bits / channels
		if c == 0 {
			share += bits % channels
		}
		for i := range 12 {
			at := 8 + channels + 63*c + i
			side[at/8] |= byte(share>>(11-i)&1) << (7 - at%8)
		}
	}
	return append(append(head, side...), body(h.length-4-h.side)...), h
}

// TestLSFFramesHoldTheSameData: cut as go-mp3 cuts them, in all bitrates that pad, with data that lie in frames before.
func TestLSFFramesHoldTheSameData(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, channels := range []int{1, 2} {
		for index := 1; index < lsfIndex; index++ {
			l := &lsfFrames{}
			var stream, made []byte // data of all frames; of those that were made
			var want [][]byte
			free := 0 // where in stream the last frame's data end
			check := func(frame []byte) {
				h, ok := parseMP3Header(frame)
				if !ok || h.padded || h.length != len(frame) {
					t.Fatalf("a frame of %d bytes with the header %x", len(frame), frame[:4])
				}
				made = append(made[:len(made):len(made)], frame[4+h.side:]...)
				from := len(made) - (len(frame) - 4 - h.side) - int(frame[4])
				if got := made[from:min(len(made), from+len(want[0]))]; !bytes.Equal(got, want[0]) {
					t.Fatalf("%d channels, bitrate %d, frame %x: %d bytes are not those that it had", channels, index, frame[:4], len(want[0]))
				}
				want = want[1:]
			}
			for n := range 200 {
				begin := len(stream)
				backward := min(begin-free, maxBackward)
				var bits int
				frame, h := lsfFrame(index, n%2, channels, backward, 0, func(n int) []byte { return make([]byte, n) })
				room := len(frame) - 4 - h.side + backward
				bits = min(random.IntN(8*room+1), 4095*channels)
				frame, h = lsfFrame(index, n%2, channels, backward, bits, func(n int) []byte {
					body := make([]byte, n)
					for i := range body {
						body[i] = byte(random.Uint32())
					}
					return body
				})
				stream = append(stream, frame[4+h.side:]...)
				free = begin - backward + (bits+7)/8
				want = append(want, stream[begin-backward:free:free])
				out, err := l.next(frame, h)
				if err != nil {
					if !errors.Is(err, ErrUnsupported) || index < 10 {
						t.Errorf("%d channels, bitrate %d, frame %d: %v", channels, index, n, err)
					}
					break
				}
				if out != nil {
					check(out)
				}
			}
		}
	}
}

// TestLSFFrameWithoutItsData is silent: the file was cut out of another.
func TestLSFFrameWithoutItsData(t *testing.T) {
	l := &lsfFrames{}
	frame, h := lsfFrame(4, 1, 1, 100, 800, func(n int) []byte { return bytes.Repeat([]byte{0x55}, n) })
	for range 2 {
		if _, err := l.next(frame, h); err != nil {
			t.Fatal(err)
		}
	}
	if side := l.pending[4 : 4+h.side]; !bytes.Equal(side, make([]byte, h.side)) {
		t.Errorf("side information %x", side)
	}
	if _, err := l.next(frame[:8], h); !errors.Is(err, ErrDamaged) {
		t.Errorf("a frame of 8 bytes: %v", err)
	}
}
