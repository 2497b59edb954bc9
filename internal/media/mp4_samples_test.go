package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// aacSamples are the frames of a file, and the boxes of its track that are not of their places.
func aacSamples(t *testing.T, name string) (samples [][]byte, boxes map[string][]byte) {
	t.Helper()
	content, _ := audioFile(t, name)
	m := &mp4Movie{in: newSource(t.Context(), bytes.NewReader(content), int64(len(content)))}
	if err := m.walk(0, m.in.size, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.tracks[0].samples.each(m.in, 0, func(sample []byte) error {
		samples = append(samples, bytes.Clone(sample))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	boxes = make(map[string][]byte)
	for _, kind := range []string{"mvhd", "tkhd", "edts", "mdhd", "hdlr", "stsd", "stts"} {
		at := bytes.Index(content, []byte(kind)) - 4
		if at < 0 { // fragments have no edit list
			continue
		}
		boxes[kind] = content[at : at+int(binary.BigEndian.Uint32(content[at:]))]
	}
	return samples, boxes
}

// movie is moov of what aacSamples gives, and of tables; fragments follow where extends is not nil.
func movie(boxes map[string][]byte, extends []byte, tables ...[]byte) []byte {
	table := box("stbl", slices.Concat(boxes["stsd"], boxes["stts"], slices.Concat(tables...))...)
	media := box("mdia", slices.Concat(boxes["mdhd"], boxes["hdlr"], box("minf", table...))...)
	return box("moov", slices.Concat(boxes["mvhd"], box("trak", slices.Concat(boxes["tkhd"], boxes["edts"], media)...), extends)...)
}

// TestMP4SampleTables: the same frames in chunks of all kinds have the same peaks.
func TestMP4SampleTables(t *testing.T) {
	samples, boxes := aacSamples(t, "aac.m4a")
	content, mimeType := audioFile(t, "aac.m4a")
	want, err := readBytes(content, mimeType)
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	sizes := words(0, 0, uint32(len(samples)))
	for _, sample := range samples {
		longest = max(longest, len(sample))
		sizes = append(sizes, words(uint32(len(sample)))...)
	}
	// Chunks of 3, 3, 3, 3, 1, 1 and then 5 samples, with a gap before each.
	data, offsets, places := []byte{}, words(), []uint32{}
	padded := []byte{}
	for i, chunk := 0, 0; i < len(samples); chunk++ {
		n := 5
		if chunk < 4 {
			n = 3
		} else if chunk < 6 {
			n = 1
		}
		data = append(data, "a gap"...)
		places = append(places, uint32(8+len(data)))
		offsets = append(offsets, words(0, uint32(8+len(data)))...)
		for _, sample := range samples[i:min(i+n, len(samples))] {
			data = append(data, sample...)
		}
		i += n
	}
	for _, sample := range samples {
		padded = append(append(padded, sample...), make([]byte, longest-len(sample))...)
	}
	count := uint32(len(places))
	runs := box("stsc", words(0, 3, 1, 3, 1, 5, 1, 1, 7, 5, 1)...)
	swapped := slices.Clone(places)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	for name, c := range map[string]struct {
		data  []byte
		movie []byte
		err   error
	}{
		"co64":             {data, movie(boxes, nil, runs, box("stsz", sizes...), box("co64", append(words(0, count), offsets...)...)), nil},
		"stco, sizes last": {data, movie(boxes, nil, runs, box("stco", append(words(0, count), words(places...)...)...), box("stsz", sizes...)), nil},
		"one size": {padded, movie(boxes, nil, box("stsc", words(0, 1, 1, uint32(len(samples)), 1)...),
			box("stsz", words(0, uint32(longest), uint32(len(samples)))...), box("stco", words(0, 1, 8)...)), nil},
		"chunks in another order": {data, movie(boxes, nil, runs, box("stsz", sizes...), box("stco", append(words(0, count), words(swapped...)...)...)), ErrUnsupported},
		"a chunk too few":         {data, movie(boxes, nil, runs, box("stsz", sizes...), box("stco", append(words(0, count-1), words(places[:count-1]...)...)...)), ErrDamaged},
		"a chunk behind the end":  {data[:len(data)-100], movie(boxes, nil, runs, box("stsz", sizes...), box("stco", append(words(0, count), words(append(slices.Clone(places[:count-1]), 1<<20)...)...)...)), ErrDamaged},
	} {
		got, err := readBytes(slices.Concat(box("mdat", c.data...), c.movie), mimeType)
		if !errors.Is(err, c.err) || c.err == nil && (err != nil || !slices.Equal(got.Waveform, want.Waveform)) {
			t.Errorf("%s: error %v, or other peaks", name, err)
		}
	}
}

// TestMP4FragmentData: the same frames in fragments of all kinds have the same peaks.
func TestMP4FragmentData(t *testing.T) {
	samples, boxes := aacSamples(t, "fragments.m4a")
	content, mimeType := audioFile(t, "fragments.m4a")
	want, err := readBytes(content, mimeType)
	if err != nil {
		t.Fatal(err)
	}
	id := binary.BigEndian.Uint32(boxes["tkhd"][20:])
	sizes := words()
	for _, sample := range samples {
		sizes = append(sizes, words(1024, uint32(len(sample)))...)
	}
	copy(sizes[len(sizes)-8:], words(34099-33*1024)) // the last one is short
	begin := movie(boxes, box("mvex", box("trex", words(0, id, 1, 1024, 0, 0)...)...))
	data := box("mdat", slices.Concat(samples...)...)
	head := words(trunDuration|trunSize|trunOffset, uint32(len(samples)))
	run := func(offset int) []byte { return box("trun", slices.Concat(head, words(uint32(offset)), sizes)...) }
	length := len(moof(box("tfhd", words(0, id)...), run(0)))
	half := len(samples) / 2
	first := box("trun", slices.Concat(words(trunDuration|trunSize|trunOffset, uint32(half), uint32(length+24)), sizes[:8*half])...)
	second := box("trun", slices.Concat(words(trunDuration|trunSize, uint32(len(samples)-half)), sizes[8*half:])...)
	for name, file := range map[string][]byte{
		"from moof":         slices.Concat(begin, moof(box("tfhd", words(tfhdBaseIsMoof, id)...), run(length+8)), data),
		"from an offset":    slices.Concat(begin, moof(box("tfhd", words(tfhdBaseOffset, id, 0, uint32(len(begin)+8))...), run(length+8)), data),
		"before it":         slices.Concat(data, begin, moof(box("tfhd", words(tfhdBaseOffset, id, 0, 0)...), run(8))),
		"behind each other": slices.Concat(begin, moof(box("tfhd", words(tfhdBaseIsMoof, id)...), first, second), data),
	} {
		got, err := readBytes(file, mimeType)
		same := err == nil && slices.Equal(got.Waveform, want.Waveform) && got.Duration == want.Duration
		if !same {
			t.Errorf("%s: error %v, or other peaks; %v s, want %v", name, err, got.Duration, want.Duration)
		}
	}
}

// TestITunSMPB: it tells as much as an edit list.
func TestITunSMPB(t *testing.T) {
	samples, boxes := aacSamples(t, "aac.m4a")
	content, mimeType := audioFile(t, "aac.m4a")
	want, err := readBytes(content, mimeType)
	if err != nil {
		t.Fatal(err)
	}
	delete(boxes, "edts")
	sizes := words(0, 0, uint32(len(samples)))
	for _, sample := range samples {
		sizes = append(sizes, words(uint32(len(sample)))...)
	}
	tables := [][]byte{box("stsc", words(0, 1, 1, uint32(len(samples)), 1)...), box("stsz", sizes...), box("stco", words(0, 1, 8)...)}
	tag := func(value string) []byte {
		free := slices.Concat(box("mean", []byte("\x00\x00\x00\x00com.apple.iTunes")...), box("name", []byte("\x00\x00\x00\x00iTunSMPB")...), box("data", append(words(1, 0), value...)...))
		list := box("ilst", slices.Concat(box("\xa9nam", box("data", append(words(1, 0), "x"...)...)...), box("----", free...))...)
		return box("udta", box("meta", slices.Concat(words(0), box("hdlr", words(0, 0, 0)...), list)...)...)
	}
	for value, same := range map[string]bool{
		" 00000000 00000400 00000156 000000000001AEAA 00000000 00000000": true,
		" 00000000 00000400 00000156":                                    false,
		" 00000000 ffffffff 00000156 000000000001AEAA 00000000 00000000": false,
	} {
		got, err := readBytes(slices.Concat(box("mdat", slices.Concat(samples...)...), movie(boxes, tag(value), tables...)), mimeType)
		if err != nil || slices.Equal(got.Waveform, want.Waveform) != same || (got.Duration == want.Duration) != same {
			t.Errorf("%q: %v s, %v", value, got.Duration, err)
		}
	}
}
