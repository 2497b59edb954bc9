package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	mp3 "github.com/hajimehoshi/go-mp3"
)

// decoderDelay is by how many samples every decoder of layer III lags behind, and one
// (LAME's documentation of its tag, "enc_delay").
const decoderDelay = 528 + 1

// mp3Header is what the four bytes before a frame tell (ISO/IEC 11172-3, 2.4.1.3; 13818-3).
type mp3Header struct {
	version  int // 3 of MPEG-1, 2 of MPEG-2, 0 of MPEG-2.5
	rate     int // Hz
	channels int
	length   int // bytes of the frame
	samples  int // of each channel
	side     int // bytes of side information
	kbits    int // kbit/s
	padded   bool
}

// readMP3 decodes a file of MPEG audio layer III. It goes over the frames twice: only all
// of them together tell how long the sound is.
func readMP3(in *source, info *AudioInfo) error {
	scan, err := scanMP3(in)
	if err != nil {
		return err
	}
	first := scan.first
	*info = AudioInfo{SampleRate: first.rate, Channels: first.channels, Format: "mp3"}
	info.measure(scan.end-scan.begin, scan.bytes)
	if first.version == 0 {
		return fmt.Errorf("%w: MPEG-2.5", ErrUnsupported)
	}
	in.seek(0)
	frames := &mp3Frames{in: in}
	if scan.tagged {
		if _, err := frames.next(); err != nil {
			return err
		}
	}
	reader := &mp3Reader{frames: frames}
	if scan.miscut {
		reader.lsf = &lsfFrames{}
	}
	decoder, err := mp3.NewDecoder(reader)
	if err != nil {
		return undecoded(err)
	}
	wave := newWaveform(2, scan.end-scan.begin) // the decoder doubles a single channel
	raw, values := make([]byte, 4*1152), make([]int16, 2*1152)
	for at := int64(0); ; {
		n, err := io.ReadFull(decoder, raw)
		count := int64(n / 4)
		for i := range 2 * count {
			values[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		if from, to := max(scan.begin-at, 0), min(scan.end-at, count); from < to {
			addFrames(wave, values[2*from:2*to], 1.0/(1<<15))
		}
		at += count
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err == nil {
			err = in.spend(int(2 * count))
		}
		if err != nil {
			return undecoded(err)
		}
	}
	if in.failed != nil {
		return in.failed
	}
	if wave.frames == 0 {
		return undecoded(errors.New("not a single frame"))
	}
	info.Waveform = wave.peaks()
	return nil
}

// mp3Scan is what going over all frames tells.
type mp3Scan struct {
	first      mp3Header
	tagged     bool  // the first frame holds a tag and no sound
	begin, end int64 // of the sound, among the samples that are decoded
	bytes      int64 // of frames with sound
	miscut     bool  // there are frames that the decoder would cut wrong
}

func scanMP3(in *source) (scan mp3Scan, err error) {
	frames := &mp3Frames{in: in}
	frame, err := frames.next()
	if err != nil {
		return scan, fmt.Errorf("no first frame: %w", err)
	}
	scan.first, scan.miscut = frames.first, frames.first.miscut()
	var delay, padding int64
	if scan.tagged, delay, padding = mp3Tag(frame, scan.first); !scan.tagged {
		scan.end, scan.bytes = int64(frames.header.samples), int64(len(frame))
	}
	for n := 0; ; n++ {
		frame, err := frames.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return scan, err
		}
		scan.end, scan.bytes = scan.end+int64(frames.header.samples), scan.bytes+int64(len(frame))
		scan.miscut = scan.miscut || frames.header.miscut()
		if err := in.spend(0); err != nil {
			return scan, err
		}
	}
	if delay > 0 && delay+padding < scan.end { // as long as what was encoded
		scan.begin = delay + decoderDelay
		scan.end = min(scan.end, max(scan.begin, scan.end-padding+decoderDelay))
	}
	return scan, nil
}

// mp3Tag reads the tag that an encoder puts into a first frame of silence: Xing's (named
// Info in files of constant bitrate), with LAME's behind it, or VBRI. delay and padding are
// samples that the encoder added at both ends.
func mp3Tag(frame []byte, h mp3Header) (found bool, delay, padding int64) {
	if len(frame) >= 40 && string(frame[36:40]) == "VBRI" {
		return true, 0, 0
	}
	if len(frame) < 4+h.side+8 {
		return false, 0, 0
	}
	tag := frame[4+h.side:]
	if string(tag[:4]) != "Xing" && string(tag[:4]) != "Info" {
		return false, 0, 0
	}
	at, flags := 8, tag[7]
	for bit, length := range []int{4, 4, 100, 4} { // frames, bytes, table of contents, quality
		if flags>>bit&1 == 1 {
			at += length
		}
	}
	if len(tag) < at+24 || !bytes.HasPrefix(tag[at:], []byte("L")) { // LAME, Lavc, Lavf
		return true, 0, 0
	}
	tag = tag[at+21:]
	return true, int64(tag[0])<<4 | int64(tag[1]>>4), int64(tag[1]&15)<<8 | int64(tag[2])
}

// mp3Frames goes over the frames, past tags and what else is no frame.
type mp3Frames struct {
	in     *source
	first  mp3Header
	header mp3Header // of the last one
	begun  bool
}

// maxStray is how many bytes that are no frame may lie between two.
const maxStray = 1 << 20

// next returns a frame with its header, until the next call; io.EOF after the last whole one.
func (f *mp3Frames) next() ([]byte, error) {
	if !f.begun {
		if err := skipID3(f.in); err != nil {
			return nil, err
		}
	}
	for stray := 0; stray < maxStray; stray++ {
		head, err := f.in.Peek(4)
		if err != nil {
			return nil, err
		}
		h, ok := parseMP3Header(head)
		if ok && f.begun && (h.version != f.first.version || h.rate != f.first.rate) {
			ok = false
		}
		if ok && stray > 0 || ok && !f.begun { // where a frame was not due, a second one must follow
			if after, err := f.in.Peek(h.length + 4); err == nil {
				_, ok = parseMP3Header(after[h.length:])
			}
		}
		if ok {
			frame, err := f.in.Peek(h.length)
			if err != nil {
				return nil, err
			}
			if !f.begun {
				f.first, f.begun = h, true
			}
			f.header = h
			f.in.skip(int64(h.length))
			return frame, nil
		}
		if string(head[:3]) == "ID3" {
			if err := skipID3(f.in); err != nil {
				return nil, err
			}
			continue
		}
		f.in.skip(1)
	}
	return nil, io.EOF
}

// mp3Reader is the frames one after the other, for the decoder.
type mp3Reader struct {
	frames *mp3Frames
	lsf    *lsfFrames // nil where the decoder can read the frames as they are
	left   []byte
}

func (r *mp3Reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *mp3Reader) fill() error {
	frame, err := r.frames.next()
	switch {
	case r.lsf == nil:
		r.left = frame
	case err == nil:
		r.left, err = r.lsf.next(frame, r.frames.header)
	case errors.Is(err, io.EOF) && r.lsf.pending != nil:
		r.left, r.lsf.pending, err = r.lsf.pending, nil, nil
	}
	return err
}

// skipID3 passes ID3v2 tags (id3.org, ID3v2.4.0, 3.1), and zeros behind them.
func skipID3(in *source) error {
	for {
		head, err := in.Peek(10)
		if err != nil || string(head[:3]) != "ID3" {
			return nil //nolint:nilerror // whoever reads on meets the end as well
		}
		var length int64
		for _, b := range head[6:] {
			length = length<<7 | int64(b&0x7f)
		}
		if head[5]&0x10 != 0 {
			length += 10 // a footer
		}
		if in.position()+10+length > in.size {
			return fmt.Errorf("%w: an ID3 tag of %d bytes", ErrDamaged, length)
		}
		in.skip(10 + length)
		for {
			b, err := in.Peek(1)
			if err != nil || b[0] != 0 {
				break
			}
			in.skip(1)
		}
	}
}

// MP3FrameLength is the length in bytes of the frame that begins with head: MPEG audio layer III (ISO/IEC 11172-3, 2.4.1.3 and 2.4.3.1;
// 13818-3). It is 0 if none does, or one of free format, which encoders do not write.
func MP3FrameLength(head []byte) int {
	if len(head) < 4 {
		return 0
	}
	h, _ := parseMP3Header(head) // 0 without one
	return h.length
}

// Bitrates of layer III by index, kbit/s: of MPEG-1, and of MPEG-2 and 2.5.
var (
	mp3Bitrates1 = [15]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}
	mp3Bitrates2 = [15]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}
)

func parseMP3Header(b []byte) (h mp3Header, ok bool) {
	if b[0] != 0xff || b[1]&0xe0 != 0xe0 || b[1]>>1&3 != 1 { // sync, layer III
		return h, false
	}
	version, bitrate, rate, padding := int(b[1]>>3&3), int(b[2]>>4), b[2]>>2&3, int(b[2]>>1&1)
	if version == 1 || bitrate == 0 || bitrate == 15 || rate == 3 {
		return h, false
	}
	h = mp3Header{
		version: version, rate: []int{44100, 48000, 32000}[rate], channels: 2, samples: 1152, side: 32,
		kbits: mp3Bitrates1[bitrate], padded: padding == 1,
	}
	mono := b[3]>>6 == 3
	if mono {
		h.channels, h.side = 1, 17
	}
	if version != 3 {
		h.samples, h.side, h.kbits = 576, 17, mp3Bitrates2[bitrate]
		h.rate /= 2
		if version == 0 {
			h.rate /= 2
		}
		if mono {
			h.side = 9
		}
	}
	h.length = h.samples/8*1000*h.kbits/h.rate + padding
	return h, true
}
