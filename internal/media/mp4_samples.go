package media

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// mp4Samples is where the samples of a track lie in the file (ISO/IEC 14496-12, 8.7). What
// it takes is bounded: 8 MiB of sizes, 12 of chunks.
type mp4Samples struct {
	count   int64                    // of samples
	uniform int64                    // bytes of each sample, 0 where sizes tells
	sizes   []*[mp4SizesBlock]uint16 // bytes of each; AAC has at most 768 a channel
	offsets []uint32                 // of chunks in the file
	runs    []mp4Run
	refused error // why they are not known
}

// mp4Run tells that chunks from first on, counted from 0, have so many samples each.
type mp4Run struct{ first, samples uint32 }

const (
	mp4MaxSamples = 1 << 22 // 24 hours of AAC at 48 kHz
	mp4MaxChunks  = 1 << 20
	mp4MaxSample  = math.MaxUint16 // bytes
	mp4SizesBlock = 1 << 15        // sizes that are held together: to copy them into more room would take twice as much
)

func (s *mp4Samples) refuse(format string, args ...any) {
	if s.refused == nil {
		*s = mp4Samples{refused: fmt.Errorf("%w: MP4 with "+format, append([]any{ErrUnsupported}, args...)...)}
	}
}

// sampleTable reads stsz, stsc, stco or co64 of the first track of sound.
func (m *mp4Movie) sampleTable(s *mp4Samples, kind string, at, end int64) error {
	b, err := m.bytes(at, end, 8)
	if err != nil {
		return err
	}
	count := int64(binary.BigEndian.Uint32(b[4:]))
	at += 8
	switch kind {
	case "stsz":
		return m.sampleSizes(s, at-8, end)
	case "stsc":
		if count > mp4MaxChunks {
			s.refuse("%d runs of chunks", count)
			return nil
		}
		s.runs = make([]mp4Run, 0, count)
		return m.table(at, end, count, 12, func(entry []byte) {
			s.runs = append(s.runs, mp4Run{binary.BigEndian.Uint32(entry) - 1, binary.BigEndian.Uint32(entry[4:])})
		})
	}
	width := int64(4)
	if kind == "co64" {
		width = 8
	}
	if count > mp4MaxChunks {
		s.refuse("%d chunks", count)
		return nil
	}
	s.offsets = make([]uint32, 0, count)
	return m.table(at, end, count, width, func(entry []byte) {
		if width == 4 {
			s.chunk(int64(binary.BigEndian.Uint32(entry)))
		} else {
			s.chunk(int64(binary.BigEndian.Uint64(entry) & math.MaxInt64))
		}
	})
}

// sampleSizes reads stsz (8.7.3.2).
func (m *mp4Movie) sampleSizes(s *mp4Samples, at, end int64) error {
	b, err := m.bytes(at, end, 12)
	if err != nil {
		return err
	}
	size, count := int64(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint32(b[8:]))
	s.sizes, s.uniform, s.count = nil, 0, 0
	switch {
	case count > mp4MaxSamples:
		s.refuse("%d samples", count)
		if size == 0 && count*4 > end-at-12 {
			return errBox
		}
		return nil
	case size > 0:
		s.uniform, s.count = size, count
		return nil
	case count*4 > end-at-12:
		return errBox
	}
	return m.table(at+12, end, count, 4, func(entry []byte) { s.sample(int64(binary.BigEndian.Uint32(entry))) })
}

func (s *mp4Samples) sample(size int64) {
	switch {
	case s.refused != nil:
	case s.uniform > 0 && s.count > 0 || size > mp4MaxSample:
		s.refuse("samples of %d bytes", size)
	case s.count >= mp4MaxSamples:
		s.refuse("more than %d samples", mp4MaxSamples)
	default:
		at := s.count % mp4SizesBlock
		if at == 0 {
			s.sizes = append(s.sizes, new([mp4SizesBlock]uint16))
		}
		s.sizes[len(s.sizes)-1][at] = uint16(size)
		s.count++
	}
}

func (s *mp4Samples) chunk(offset int64) {
	if s.refused != nil {
		return
	}
	if offset > math.MaxUint32 || len(s.offsets) >= mp4MaxChunks {
		s.refuse("a chunk at %d", offset)
		return
	}
	s.offsets = append(s.offsets, uint32(offset))
}

// fragment adds a chunk of samples that a trun has.
func (s *mp4Samples) fragment(offset int64, samples uint32) {
	if s.count+int64(samples) > mp4MaxSamples {
		s.refuse("more than %d samples", mp4MaxSamples)
	}
	if last := len(s.runs) - 1; last < 0 || s.runs[last].samples != samples {
		s.runs = append(s.runs, mp4Run{uint32(len(s.offsets)), samples})
	}
	s.chunk(offset)
}

// each reads every sample, with padding bytes of 0 behind it, and gives it to take, where it
// is valid until the next one. A chunk before the one before it would be a step back in the
// file, of which there is no end: ErrUnsupported.
func (s *mp4Samples) each(in *source, padding int, take func(sample []byte) error) error {
	if s.refused != nil {
		return s.refused
	}
	if !slices.IsSorted(s.offsets) {
		return fmt.Errorf("%w: chunks that are not in order", ErrUnsupported)
	}
	if s.uniform > mp4MaxSample {
		return fmt.Errorf("%w: samples of %d bytes", ErrUnsupported, s.uniform)
	}
	buffer := make([]byte, mp4MaxSample+padding)
	done, run := int64(0), 0
	in.seek(0)
	for chunk, offset := range s.offsets {
		for run+1 < len(s.runs) && int64(s.runs[run+1].first) <= int64(chunk) {
			run++
		}
		if len(s.runs) == 0 || int64(s.runs[run].first) > int64(chunk) {
			return fmt.Errorf("%w: chunk %d of how many samples?", ErrDamaged, chunk)
		}
		ahead := int64(offset) - in.position()
		if ahead < 0 {
			return fmt.Errorf("%w: chunks that overlap", ErrDamaged)
		}
		in.skip(ahead)
		for n := s.runs[run].samples; n > 0 && done < s.count; n, done = n-1, done+1 {
			size := s.uniform
			if size == 0 {
				size = int64(s.sizes[done/mp4SizesBlock][done%mp4SizesBlock])
			}
			if _, err := io.ReadFull(in, buffer[:size]); err != nil {
				return fmt.Errorf("%w: sample %d: %w", ErrDamaged, done, err)
			}
			clear(buffer[size : size+int64(padding)])
			if err := take(buffer[:size+int64(padding)]); err != nil {
				return err
			}
		}
	}
	if done < s.count {
		return fmt.Errorf("%w: %d samples in chunks, of %d", ErrDamaged, done, s.count)
	}
	return nil
}
