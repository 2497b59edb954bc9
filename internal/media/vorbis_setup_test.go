package media

import (
	"errors"
	"testing"
)

// TestVorbisSetup: a codebook that its decoder could search in for ever is refused, one that is complete is not.
func TestVorbisSetup(t *testing.T) {
	for name, c := range map[string]struct {
		words []byte // lengths of the words
		fine  bool
	}{
		"complete": {[]byte{1, 1}, true}, "with a hole": {[]byte{1, 2}, false}, "with too many words": {[]byte{1, 1, 1}, false}, "of one word": {[]byte{1}, true},
	} {
		var bits []bool
		put := func(value, n int) {
			for i := range n {
				bits = append(bits, value>>i&1 == 1)
			}
		}
		put(0, 1) // not ordered
		put(0, 1) // not sparse
		for _, length := range c.words {
			put(int(length)-1, 5)
		}
		packed := make([]byte, len(bits)/8+1)
		for i, bit := range bits {
			if bit {
				packed[i/8] |= 1 << (i % 8)
			}
		}
		err := checkCode(&lsbBits{data: packed}, len(c.words))
		if c.fine != (err == nil) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInsertZeros(t *testing.T) {
	for name, c := range map[string]struct {
		places []int
		want   string
	}{
		"none": {nil, "1111111101010101"}, "at the begin and within": {[]int{0, 10}, "000111111110100001010100"}, "twice at one place": {[]int{4, 4}, "111100000011110101010100"},
	} {
		got := ""
		for _, b := range insertZeros([]byte{0xff, 0xaa}, c.places, 3) {
			for i := range 8 {
				got += string('0' + b>>i&1)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
