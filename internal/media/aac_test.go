package media

import (
	"math"
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
