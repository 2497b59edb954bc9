package media

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// AudioInfo is what is told about a file of sound.
type AudioInfo struct {
	Duration   float64   // seconds
	Bitrate    int64     // bit/s, the average over the whole duration
	SampleRate int       // Hz; of Opus always 48000, the rate that it decodes to (RFC 7845, 5.1)
	Channels   int       // of the file, also where decoding makes more or fewer
	Format     string    // "mp3", "wav", "vorbis", "opus", "flac", "aac", "alac"
	Waveform   []float64 // Parts peaks, 0 to 1; nil where the sound was not decoded
}

const (
	// Parts is how many peaks a waveform has.
	Parts = 100
	// maxValues bounds the samples, over all channels, that are decoded of one file: 24
	// hours of stereo at 48 kHz. A FLAC frame of 20 bytes may hold half a million.
	maxValues = 24 * 3600 * 48_000 * 2

	maxChannels   = 255
	maxSampleRate = 1 << 22 // Hz; FLAC's field has 20 bits, and DSD-like WAV files 2.8 MHz
)

// formats are the readers by MIME type: those that uploads are given. They write what they know as soon as they do.
var formats = map[string]func(*source, *AudioInfo) error{
	"audio/wav":  readWAV,
	"audio/ogg":  readOgg,
	"audio/flac": readFLAC,
	"audio/mp4":  readMP4,
	"audio/mpeg": readMP3,
}

// ReadAudio decodes the sound in file, which has size bytes and the type that mimeType
// names, and tells about it. It streams: the memory that it takes does not grow with the
// file. Errors: ErrUnsupported, ErrTooLarge and, where a decoder fails, ErrDamaged, with
// which what the file's headers say is returned, without a waveform; ErrDamaged alone of a
// file that contradicts itself or is cut off; the error of ctx, and those of file.
func ReadAudio(ctx context.Context, file io.ReaderAt, size int64, mimeType string) (info AudioInfo, err error) {
	read, ok := formats[mimeType]
	if !ok {
		return AudioInfo{}, fmt.Errorf("%w: %s", ErrUnsupported, mimeType)
	}
	in := newSource(ctx, file, size)
	defer func() {
		// Third-party decoders index by what the file says: a panic of theirs is its fault.
		// They run in this goroutine and hold nothing beyond it.
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: its decoder panicked: %v", errUndecoded, p)
		}
		if err == nil {
			return
		}
		if err = in.verdict(err); !factsRemain(err) || info.check() != nil {
			info = AudioInfo{}
		}
		info.Waveform = nil
	}()
	err = read(in, &info)
	return info, err
}

// source is the file while it is read from its begin to its end.
type source struct {
	*bufio.Reader
	ctx    context.Context
	file   io.ReaderAt
	size   int64
	failed error // of file or ctx, not of what the file holds
	at     int64 // what Reader has taken
	values int64 // that were decoded
}

func newSource(ctx context.Context, file io.ReaderAt, size int64) *source {
	s := &source{ctx: ctx, file: file, size: size}
	s.Reader = bufio.NewReaderSize(&sourceReader{s}, 32<<10)
	return s
}

// sourceReader reads on for source's buffer, so that every decoder meets the end of ctx.
type sourceReader struct{ *source }

func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, r.at)
	r.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt reads at any place, and remembers why it cannot.
func (s *source) ReadAt(p []byte, at int64) (int, error) {
	if s.failed = s.ctx.Err(); s.failed != nil {
		return 0, s.failed
	}
	if at >= s.size {
		return 0, io.EOF
	}
	whole := len(p)
	p = p[:min(int64(whole), s.size-at)]
	n, err := s.file.ReadAt(p, at)
	switch {
	case err != nil && err != io.EOF:
		s.failed = err
	case n == len(p) && n < whole:
		err = io.EOF
	case n == len(p):
		err = nil
	case err == io.EOF: // it has fewer bytes than we were told
		s.failed = io.ErrUnexpectedEOF
		err = s.failed
	}
	return n, err
}

// position is the offset of the next byte.
func (s *source) position() int64 { return s.at - int64(s.Buffered()) }

// seek makes the byte at offset the next one.
func (s *source) seek(offset int64) {
	s.at = max(offset, 0)
	s.Reset(&sourceReader{s})
}

// skip passes n bytes without reading them, also past the end.
func (s *source) skip(n int64) {
	if n <= int64(s.Buffered()) {
		_, _ = s.Discard(int(n))
		return
	}
	s.seek(s.position() + n)
}

// spend accounts for n decoded values. Decoders call it for each packet or frame: it
// also looks whether ctx has ended, for few bytes may hold much sound.
func (s *source) spend(n int) error {
	if s.values += int64(n); s.values > maxValues {
		return ErrTooLarge
	}
	if s.failed = s.ctx.Err(); s.failed != nil {
		return s.failed
	}
	return nil
}

// verdict makes a decoder's error one of ours.
func (s *source) verdict(err error) error {
	switch {
	case s.failed != nil:
		return s.failed
	case factsRemain(err), errors.Is(err, ErrDamaged):
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// factsRemain says whether a file that is given up with err may be sound as far as is known, so that what its headers say may be told.
func factsRemain(err error) bool {
	return errors.Is(err, errUndecoded) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTooLarge) || errors.Is(err, context.DeadlineExceeded)
}

// check refuses what no file of sound has.
func (i *AudioInfo) check() error {
	if i.Channels < 1 || i.Channels > maxChannels || i.SampleRate < 1 || i.SampleRate > maxSampleRate {
		return fmt.Errorf("%w: %d channels at %d Hz", ErrDamaged, i.Channels, i.SampleRate)
	}
	return nil
}

// measure sets duration and bitrate of so many frames in so many bytes.
func (i *AudioInfo) measure(frames, bytes int64) {
	if i.SampleRate > 0 {
		i.lasts(float64(frames)/float64(i.SampleRate), bytes)
	}
}

// lasts sets duration, seconds, and bitrate. Less than a bit a second is no sound: neither is then known.
func (i *AudioInfo) lasts(duration float64, bytes int64) {
	if duration <= 0 {
		return
	}
	if rate := int64(float64(bytes)*8/duration + 0.5); rate > 0 {
		i.Duration, i.Bitrate = duration, rate
	}
}
