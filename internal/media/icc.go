package media

import (
	"encoding/binary"
	"math"
)

// readICC reads a profile of matrix and curves (ICC.1:2022, 8.3), or of one curve for
// grey. Of others, and of what is damaged, it returns nil.
func readICC(icc []byte) *transform {
	if len(icc) < 132 || string(icc[36:40]) != "acsp" || string(icc[20:24]) != "XYZ " {
		return nil
	}
	tag := iccTags(icc)
	t := &transform{matrix: matrix{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}
	curves := [3]string{"rTRC", "gTRC", "bTRC"}
	switch string(icc[16:20]) {
	case "GRAY":
		curves = [3]string{"kTRC", "kTRC", "kTRC"}
	case "RGB ":
		var colours matrix
		for i, name := range []string{"rXYZ", "gXYZ", "bXYZ"} {
			xyz := tag(name)
			if len(xyz) < 20 {
				return nil
			}
			for c := range 3 {
				colours[c][i] = fixed16(xyz[8+4*c:])
			}
		}
		t.matrix = fromD50.times(colours)
	default:
		return nil
	}
	for i, name := range curves {
		curve := iccCurve(tag(name))
		if curve == nil {
			return nil
		}
		t.light[i] = tabulate(curve)
	}
	return t
}

// iccTags returns what finds the content of a tag, which is nil where there is none.
func iccTags(icc []byte) func(name string) []byte {
	const entry = 12
	count := int(min(binary.BigEndian.Uint32(icc[128:]), 100))
	return func(name string) []byte {
		for i, table := 0, icc[132:]; i < count && len(table) >= entry; i, table = i+1, table[entry:] {
			if string(table[:4]) != name {
				continue
			}
			begin, size := uint64(binary.BigEndian.Uint32(table[4:])), uint64(binary.BigEndian.Uint32(table[8:]))
			if begin+size > uint64(len(icc)) {
				return nil
			}
			return icc[begin : begin+size]
		}
		return nil
	}
}

// fixed16 is an s15Fixed16Number.
func fixed16(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) / (1 << 16) }

// iccCurve is a curve from values to light, or nil.
func iccCurve(tag []byte) func(float64) float64 {
	if len(tag) < 12 {
		return nil
	}
	switch string(tag[:4]) {
	case "curv":
		return sampledCurve(tag)
	case "para":
		return parametricCurve(tag)
	}
	return nil
}

// sampledCurve is a curveType: nothing, a gamma, or a table (ICC.1:2022, 10.6).
func sampledCurve(tag []byte) func(float64) float64 {
	count := int64(binary.BigEndian.Uint32(tag[8:]))
	table := tag[12:]
	switch {
	case count == 0:
		return func(v float64) float64 { return v }
	case 2*count > int64(len(table)):
		return nil
	case count == 1:
		gamma := float64(binary.BigEndian.Uint16(table)) / 256
		return func(v float64) float64 { return math.Pow(v, gamma) }
	}
	return func(v float64) float64 {
		v *= float64(count - 1)
		at := min(int(v), int(count)-2)
		low, high := float64(binary.BigEndian.Uint16(table[2*at:])), float64(binary.BigEndian.Uint16(table[2*at+2:]))
		return (low + (high-low)*(v-float64(at))) / math.MaxUint16
	}
}

// parametricCurve is a parametricCurveType (ICC.1:2022, 10.18).
func parametricCurve(tag []byte) func(float64) float64 {
	kind := int(binary.BigEndian.Uint16(tag[8:]))
	counts := []int{1, 3, 4, 5, 7}
	if kind >= len(counts) || len(tag) < 12+4*counts[kind] {
		return nil
	}
	var p [7]float64 // g a b c d e f
	for i := range counts[kind] {
		p[i] = fixed16(tag[12+4*i:])
	}
	g, a, b, c, d, e, f := p[0], p[1], p[2], p[3], p[4], p[5], p[6]
	switch kind {
	case 0:
		a, d = 1, 0
	case 1: // below -b/a it is 0
		c, d = 0, -b/a
	case 2: // the same, and c is added everywhere
		c, d, e, f = 0, -b/a, c, c
	}
	return func(v float64) float64 {
		if v >= d {
			return math.Pow(a*v+b, g) + e
		}
		return c*v + f
	}
}
