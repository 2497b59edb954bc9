package media

import (
	"bytes"
	"compress/zlib"
	"io"
	"testing"
)

func packed(t testing.TB, content []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	packer, err := zlib.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = packer.Write(content)
	packer.Close()
	return out.Bytes()
}

func inflated(stream io.Reader) ([]byte, error) {
	z, err := newInflater(stream)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestInflate(t *testing.T) {
	random := noise(700, 500).Y
	for name, content := range map[string][]byte{
		"nothing": nil, "a byte": {7}, "noise": random, "zeros": make([]byte, 1<<20),
		"both": append(bytes.Repeat([]byte("abcdefg"), 50_000), random...), "few values": bytes.Map(func(r rune) rune { return 'a' + r%5 }, random),
	} {
		for _, level := range []int{zlib.NoCompression, zlib.BestSpeed, zlib.DefaultCompression, zlib.BestCompression, zlib.HuffmanOnly} {
			stream := packed(t, content, level)
			for how, in := range map[string]io.Reader{"at once": bytes.NewReader(stream), "by bytes": &oneByOne{stream}} {
				got, err := inflated(in)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s, level %d, %s: %d bytes, not %d: %v", name, level, how, len(got), len(content), err)
				}
			}
			for _, cut := range []int{0, 1, 2, len(stream) / 2, len(stream) - 5, len(stream) - 1} {
				if got, err := inflated(bytes.NewReader(stream[:cut])); err == nil || len(got) > len(content) {
					t.Errorf("%s, level %d, cut at %d: %d bytes, %v", name, level, cut, len(got), err)
				}
			}
			stream[len(stream)-1] ^= 1
			if _, err := inflated(bytes.NewReader(stream)); err == nil {
				t.Errorf("%s, level %d: a wrong checksum is let pass", name, level)
			}
		}
	}
}

type oneByOne struct{ left []byte }

func (o *oneByOne) Read(p []byte) (int, error) {
	if len(o.left) == 0 {
		return 0, io.EOF
	}
	p[0] = o.left[0]
	o.left = o.left[1:]
	return 1, nil
}

// FuzzInflate: it is as package zlib has it, but for what that reads before it sees an error.
func FuzzInflate(f *testing.F) {
	for _, level := range []int{zlib.NoCompression, zlib.BestSpeed, zlib.BestCompression, zlib.HuffmanOnly} {
		f.Add(packed(f, []byte("so much, so much, so much of it"), level))
		f.Add(packed(f, noise(60, 60).Y, level))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, err := inflated(io.LimitReader(bytes.NewReader(stream), 1<<20))
		theirs, err2 := zlib.NewReader(bytes.NewReader(stream))
		var want []byte
		if err2 == nil {
			want, err2 = io.ReadAll(theirs)
		}
		if (err == nil) != (err2 == nil) && err2 == nil {
			t.Fatalf("error %v, and of package zlib %v", err, err2)
		}
		if err == nil && err2 == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, and of package zlib %d", len(got), len(want))
		}
	})
}
