package media

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

// TestAACBooks: every code is complete, and tells each symbol once, also after the other codes.
func TestAACBooks(t *testing.T) {
	for i, book := range aacBooks {
		sum, count := 0.0, 0
		for length, n := range book.counts {
			sum += float64(n) / math.Exp2(float64(length+1))
			count += int(n)
		}
		seen := make(map[uint16]bool)
		for _, symbol := range book.symbols {
			if int(symbol) < len(book.symbols) {
				seen[symbol] = true
			}
		}
		want := 121
		if shape := aacShapes[i]; i > 0 {
			base := shape.largest + 1
			if !shape.unsigned {
				base += shape.largest
			}
			want = int(math.Pow(float64(base), float64(shape.dimensions)))
		}
		if sum != 1 || count != want || len(seen) != want || len(book.symbols) != want {
			t.Errorf("book %d: Kraft sum %v, %d codes of %d symbols, want %d", i, sum, count, len(seen), want)
		}
		code, at, first := newAACCode(book), 0, 0
		for length, n := range book.counts {
			for range n {
				data := make([]byte, 4+aacPadding)
				for bit := range length + 1 {
					if first>>(length-bit)&1 == 1 {
						data[bit/8] |= 0x80 >> (bit % 8)
					}
				}
				bits := newAACBits(data)
				if symbol := code.next(&bits); symbol != int(book.symbols[at]) || bits.at != length+1 {
					t.Fatalf("book %d: code %b of %d bits is %d after %d, want %d", i, first, length+1, symbol, bits.at, book.symbols[at])
				}
				first, at = first+1, at+1
			}
			first <<= 1
		}
	}
}

// TestAACBands: they rise in steps of 4, to the length of the window.
func TestAACBands(t *testing.T) {
	for end, tables := range map[int][][]uint16{aacFrame: aacLongBands[:], aacShort: aacShortBands[:]} {
		for i, bands := range tables {
			for j, at := range bands[1:] {
				if at <= bands[j] || at%4 != 0 {
					t.Errorf("table %d of %d: %d after %d", i, end, at, bands[j])
				}
			}
			if bands[0] != 0 || int(bands[len(bands)-1]) != end || len(bands) > 52 {
				t.Errorf("table %d: from %d to %d", i, bands[0], bands[len(bands)-1])
			}
		}
	}
}

// TestIMDCT: it is what the standard's formula says.
func TestIMDCT(t *testing.T) {
	for _, size := range []int{aacShort, aacFrame} {
		in, out := make([]float64, size), make([]float64, 2*size)
		for i := range in {
			in[i] = math.Sin(float64(i * i))
		}
		newIMDCT(size).transform(in, out, 0.5)
		for n := 0; n < 2*size; n += 7 {
			want := 0.0
			for k, v := range in {
				want += v * math.Cos(math.Pi/float64(size)*(float64(n)+float64(size+1)/2)*(float64(k)+0.5))
			}
			if math.Abs(out[n]-want/2) > 1e-9 {
				t.Fatalf("%d of %d: %v, want %v", n, size, out[n], want/2)
			}
		}
	}
}

// TestAACWindows: the squares of a slope and its mirror add up to 1, so that sound comes back whole.
func TestAACWindows(t *testing.T) {
	w := aacTables().windows
	for _, slope := range [][]float64{w.long[0], w.long[1], w.short[0], w.short[1]} {
		for i, v := range slope {
			if mirrored := slope[len(slope)-1-i]; math.Abs(v*v+mirrored*mirrored-1) > 1e-12 {
				t.Fatalf("%d of %d: %v and %v", i, len(slope), v, mirrored)
			}
		}
	}
}

// bitString is bits of "1" and "0" as bytes; blanks between them are left out.
func bitString(s string) (b []byte) {
	n := 0
	for _, r := range s {
		if r == ' ' {
			continue
		}
		if n%8 == 0 {
			b = append(b, 0)
		}
		if r == '1' {
			b[n/8] |= 0x80 >> (n % 8)
		}
		n++
	}
	return b
}

func TestAACConfig(t *testing.T) {
	const flags = " 0 0 0" // frames of 1024, no core coder, no extension
	for name, c := range map[string]struct {
		bits string
		want aacConfig
		err  error
	}{
		"LC":                           {"00010 0100 0010" + flags, aacConfig{4, 44100, 2}, nil},
		"LC of 5.1":                    {"00010 0011 0110" + flags, aacConfig{3, 48000, 6}, nil},
		"LC of 7.1":                    {"00010 0011 0111" + flags, aacConfig{3, 48000, 8}, nil},
		"a rate without an index":      {"00010 1111 000000001011101110000000 0001" + flags, aacConfig{3, 48000, 1}, nil},
		"SBR, told before":             {"00101 0111 0010 0100 00010" + flags, aacConfig{7, 22050, 2}, nil},
		"SBR, told behind":             {"00010 0111 0010" + flags + "01010110111 00101 1 0100", aacConfig{7, 22050, 2}, nil},
		"parametric stereo":            {"11101 0111 0001 0100 00010" + flags, aacConfig{7, 22050, 1}, nil},
		"a layout of its own":          {"00010 0011 0000" + flags + "0000 01 0011 0010 0001 0001 01 000 0000 0 0 0 1 0000 0 0000 1 0000 0 0000 0000 00000000 00000000", aacConfig{3, 48000, 7}, nil},
		"a layout of its own, cut off": {"00010 0011 0000" + flags + "0000 01 0011 0010 0001 0001 01 000 0000 0 0 0 1", aacConfig{}, ErrDamaged},
		"Main":                         {"00001 0100 0010" + flags, aacConfig{}, ErrUnsupported},
		"an object type of more bits":  {"11111 001010 0100 0010" + flags, aacConfig{}, ErrUnsupported},
		"SBR upon LD":                  {"00101 0111 0010 0100 10111" + flags, aacConfig{}, ErrUnsupported},
		"frames of 960":                {"00010 0100 0010 1 0 0", aacConfig{}, ErrUnsupported},
		"an index of no rate":          {"00010 1101 0010" + flags, aacConfig{}, ErrDamaged},
		"cut off":                      {"00010 010", aacConfig{}, ErrDamaged},
	} {
		got, err := parseAACConfig(bitString(c.bits))
		if c.err == nil && (err != nil || got != c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

// TestHEAACHasThePeaksOfItsCore: SBR that is told of changes the facts, not the peaks.
func TestHEAACHasThePeaksOfItsCore(t *testing.T) {
	content, mimeType := audioFile(t, "aac.m4a")
	want, err := readBytes(content, mimeType)
	if err != nil {
		t.Fatal(err)
	}
	config := bytes.Index(content, []byte{0x05, 0x80, 0x80, 0x80, 0x05, 0x12, 0x10})
	if config < 0 {
		t.Fatal("no AudioSpecificConfig of 5 bytes")
	}
	for kind, bits := range map[string]string{"told before": "00101 0100 0010 0001 00010 000 0000000 00000000", "told behind": "00010 0100 0010 000 01010110111 00101 1 0001"} {
		got, err := readBytes(patched(content, config+5, bitString(bits)...), mimeType)
		if err != nil || !slices.Equal(got.Waveform, want.Waveform) {
			t.Errorf("%s: other peaks, or error %v", kind, err)
		}
	}
	got, err := readBytes(patched(content, config+5, bitString("00001 0100 0010 000")...), mimeType)
	if !errors.Is(err, ErrUnsupported) || got.Duration != want.Duration || got.Channels != 2 || got.SampleRate != 44100 || got.Format != "aac" {
		t.Errorf("AAC Main: %+v, %v", got, err)
	}
}

// TestAACPulses: they add to sizes, in the direction of the sign; of 0 they make what is below it.
func TestAACPulses(t *testing.T) {
	d := newAACDecoder(aacConfig{4, 44100, 1})
	c := &aacChannel{aacWindowing: aacWindowing{offsets: aacLongBands[2], groups: []int{1}, bands: 1}}
	c.books[0][0] = 1
	data := bitString("10 000001 00001 0011 00000 0001 00010 0010")
	bits := newAACBits(append(data, make([]byte, aacPadding)...))
	if err := c.readPulses(&bits); err != nil || !slices.Equal(c.pulses, []aacPulse{{5, 3}, {5, 1}, {7, 2}}) {
		t.Fatalf("%v, %v", c.pulses, err)
	}
	c.pulses = []aacPulse{{0, 3}, {1, 4}, {2, 5}}
	bits = newAACBits(append(bitString("1100000"), make([]byte, aacPadding)...)) // of book 1: 1, -1, 0, 0
	d.spectrum(&bits, c)
	if !slices.Equal(c.quant[:4], []int32{4, -5, -5, 0}) {
		t.Errorf("with pulses %v", c.quant[:4])
	}
	c.sequence = aacEightShort
	if err := c.readPulses(&bits); !errors.Is(err, ErrDamaged) {
		t.Errorf("pulses in short windows: %v", err)
	}
}

// TestAACEscape: sizes from 16 on.
func TestAACEscape(t *testing.T) {
	for bits, want := range map[string]int32{"0 0000": 16, "0 1111": 31, "10 00001": 33, "11111111 0 111111111111": 8191} {
		b := newAACBits(append(bitString(bits), make([]byte, aacPadding)...))
		if got := escape(&b); got != want {
			t.Errorf("%s is %d, want %d", bits, got, want)
		}
	}
}
