package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// words are numbers of 32 bits as boxes hold them.
func words(numbers ...uint32) (b []byte) {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// fragmentedFile has tracks 1 and 2, of which the second is of sound at 8000 Hz, and what fragments are given.
func fragmentedFile(duration uint32, stts []byte, fragments ...[]byte) []byte {
	entry := slices.Concat(make([]byte, 16), []byte{0, 1, 0, 16, 0, 0, 0, 0}, words(8000<<16))
	stsd := slices.Concat(words(0, 1), words(uint32(8+len(entry))), []byte("alac"), entry)
	track := func(id uint32, handler string) []byte {
		return box("trak", slices.Concat(box("tkhd", words(0, 0, 0, id, 0, 0)...), box("mdia", slices.Concat(
			box("mdhd", words(0, 0, 0, 8000, duration)...), box("hdlr", append(words(0, 0), handler...)...),
			box("minf", box("stbl", slices.Concat(box("stsd", stsd...), box("stts", stts...))...)...))...))...)
	}
	trex := func(id, ticks uint32) []byte { return box("trex", words(0, id, 1, ticks, 0, 0)...) }
	moov := box("moov", slices.Concat(track(1, "vide"), track(2, "soun"), box("mvex", slices.Concat(trex(1, 7), trex(2, 400))...))...)
	return slices.Concat(moov, slices.Concat(fragments...), box("mdat", make([]byte, 4000)...))
}

func moof(parts ...[]byte) []byte { return box("moof", box("traf", slices.Concat(parts...)...)...) }

func TestFragments(t *testing.T) {
	header := box("tfhd", words(0, 2)...)
	none := words(0, 0)
	for name, c := range map[string]struct {
		content []byte
		want    float64 // seconds
	}{
		"no fragment":                     {fragmentedFile(4000, words(0, 1, 10, 400)), 0.5},
		"a length that is not known":      {fragmentedFile(1<<32-1, none), 0},
		"by trex":                         {fragmentedFile(0, none, moof(header, box("trun", words(0, 20)...))), 1},
		"by tfhd":                         {fragmentedFile(0, none, moof(box("tfhd", words(tfhdDuration, 2, 200)...), box("trun", words(0, 20)...))), 0.5},
		"by tfhd with all fields":         {fragmentedFile(0, none, moof(box("tfhd", words(tfhdBaseOffset|tfhdDescription|tfhdDuration, 2, 9, 9, 9, 200)...), box("trun", words(0, 20)...))), 0.5},
		"by trun":                         {fragmentedFile(0, none, moof(header, box("trun", words(trunDuration, 2, 3000, 1000)...))), 0.5},
		"by trun with all fields":         {fragmentedFile(0, none, moof(header, box("trun", words(trunOffset|trunFirstFlags|trunPerSample, 2, 9, 9, 3000, 9, 9, 9, 1000, 9, 9, 9)...))), 0.5},
		"of several, and samples in none": {fragmentedFile(9, words(0, 1, 10, 400), moof(header, box("trun", words(0, 10)...), box("trun", words(0, 10)...)), moof(header, box("trun", words(0, 10)...))), 2},
		"of another track, and of none":   {fragmentedFile(0, none, moof(box("tfhd", words(0, 1)...), box("trun", words(0, 20)...)), moof(box("tfhd", words(0, 3)...), box("trun", words(0, 20)...)), moof(header, box("trun", words(0, 20)...))), 1},
		"longer than can be":              {fragmentedFile(0, none, moof(box("tfhd", words(tfhdDuration, 2, 1<<32-1)...), box("trun", words(0, 1<<32-1)...))), 0},
	} {
		info, err := readBytes(c.content, "audio/mp4")
		if !errors.Is(err, ErrUnsupported) || info.Duration != c.want || (info.Bitrate > 0) != (c.want > 0) {
			t.Errorf("%s: %v s at %d bit/s, want %v: %v", name, info.Duration, info.Bitrate, c.want, err)
		}
	}
	for name, run := range map[string][]byte{"a run that is cut off": words(trunDuration, 3, 1000, 1000), "a run without a count": words(0)} {
		if info, err := readBytes(fragmentedFile(0, none, moof(header, box("trun", run...))), "audio/mp4"); !errors.Is(err, ErrDamaged) || info.Duration != 0 {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

// TestMP4IsReadForwards: a step back is another request to the bucket. There is one, from the last header to the first sample.
func TestMP4IsReadForwards(t *testing.T) {
	content, mimeType := audioFile(t, "fragments.m4a")
	last, reads, back := int64(-1), 0, 0
	file := readerAt(func(p []byte, at int64) (int, error) {
		if at <= last {
			back++
		}
		last = at
		reads++
		return bytes.NewReader(content).ReadAt(p, at)
	})
	if _, err := ReadAudio(t.Context(), file, int64(len(content)), mimeType); err != nil {
		t.Error(err)
	}
	if reads > 11 || back != 1 {
		t.Errorf("%d reads, %d of them back", reads, back)
	}
}
