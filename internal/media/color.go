package media

import (
	"math"
	"sync"
)

// profile is what a file says of its colours. Nothing is sRGB.
type profile struct {
	icc []byte // an ICC profile
	// gamma and primaries are of PNG's chunks gAMA and cHRM, which count where there is no
	// profile: the exponent that encodes, and x and y of white, red, green and blue.
	gamma     float64
	primaries *[8]float64
}

// transform makes sRGB of other RGB: by a curve each into light, a matrix, and sRGB's curve.
type transform struct {
	light  [3]*[256]float32 // of each value
	matrix matrix           // to the light of sRGB's red, green and blue
}

type (
	vector [3]float64
	matrix [3]vector // of rows
)

// fromD50 makes the light of sRGB's colours of CIE XYZ, as it is in profiles, adapted to
// D50: the inverse of the colours that the profile of IEC 61966-2-1 states (ICC.1, annex E).
var fromD50 = matrix{
	{0.43607, 0.38515, 0.14307},
	{0.22249, 0.71687, 0.06061},
	{0.01392, 0.09708, 0.71410},
}.inverse()

// transform returns what makes sRGB of the colours, or nil where they are sRGB, or nearly
// so, or where it is not known how: tables of ICC and CMYK, for instance. Such pictures
// are shown as though they were sRGB.
func (p profile) transform() *transform {
	var t *transform
	switch {
	case p.icc != nil:
		t = readICC(p.icc)
	case p.gamma > 0:
		t = p.pngTransform()
	}
	if t == nil || t.changesNothing() {
		return nil
	}
	return t
}

// pngTransform is by gAMA and cHRM (PNG, third edition, 11.3.2). A gamma of 1/2.2 stands
// for sRGB: that is how programs write it.
func (p profile) pngTransform() *transform {
	if p.gamma < 0.1 || p.gamma > 10 {
		return nil
	}
	curve := tabulate(func(v float64) float64 { return math.Pow(v, 1/p.gamma) })
	if math.Abs(p.gamma-1/2.2) < 0.01 {
		curve = tabulate(decodeSRGB)
	}
	t := &transform{light: [3]*[256]float32{curve, curve, curve}, matrix: matrix{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}
	if p.primaries != nil {
		toXYZ := toD50(*p.primaries)
		t.matrix = fromD50.times(toXYZ)
	}
	for _, row := range t.matrix {
		for _, v := range row {
			if math.IsNaN(v) || math.Abs(v) > 100 {
				return nil // primaries on a line, or the like
			}
		}
	}
	return t
}

// toD50 is the matrix from light to XYZ adapted to D50, of x and y of white and primaries.
func toD50(xy [8]float64) matrix {
	at := func(i int) vector { return vector{xy[i] / xy[i+1], 1, (1 - xy[i] - xy[i+1]) / xy[i+1]} }
	white, columns := at(0), matrix{at(2), at(4), at(6)}.transposed()
	shares := columns.inverse().apply(white)
	for i := range columns {
		for c := range 3 {
			columns[i][c] *= shares[c]
		}
	}
	// Bradford's way to adapt to another white (ICC.1, annex E).
	cones := matrix{{0.8951, 0.2664, -0.1614}, {-0.7502, 1.7135, 0.0367}, {0.0389, -0.0685, 1.0296}}
	from, to := cones.apply(white), cones.apply(vector{0.9642, 1, 0.8249})
	scale := matrix{{to[0] / from[0], 0, 0}, {0, to[1] / from[1], 0}, {0, 0, to[2] / from[2]}}
	return cones.inverse().times(scale).times(cones).times(columns)
}

// tabulate is a curve's light for each value.
func tabulate(curve func(float64) float64) *[256]float32 {
	var table [256]float32
	for i := range table {
		if v := curve(float64(i) / 255); v > 0 {
			table[i] = float32(min(v, 1))
		}
	}
	return &table
}

// decodeSRGB is sRGB's curve from values to light, both 0 to 1.
func decodeSRGB(v float64) float64 {
	if v <= 0.04045 {
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}

const lightSteps = 1 << 14

// encodeSRGB are the values of 8 bits of light, in steps of 1/lightSteps.
var encodeSRGB = sync.OnceValue(func() *[lightSteps + 1]byte {
	var table [lightSteps + 1]byte
	for i := range table {
		v := float64(i) / lightSteps
		if v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		table[i] = byte(v*255 + 0.5)
	}
	return &table
})

// apply changes the colours of pixels in place. Those that sRGB does not have become the
// nearest by channel.
func (t *transform) apply(pix []byte) {
	if t == nil {
		return
	}
	encode := encodeSRGB()
	var m [9]float32
	for i := range m {
		m[i] = float32(t.matrix[i/3][i%3] * lightSteps)
	}
	value := func(v float32) byte { return encode[int(max(0, min(lightSteps, v+0.5)))] }
	for ; len(pix) >= 4; pix = pix[4:] {
		r, g, b := t.light[0][pix[0]], t.light[1][pix[1]], t.light[2][pix[2]]
		pix[0] = value(m[0]*r + m[1]*g + m[2]*b)
		pix[1] = value(m[3]*r + m[4]*g + m[5]*b)
		pix[2] = value(m[6]*r + m[7]*g + m[8]*b)
	}
}

// changesNothing says whether no colour changes by more than what rounding does.
func (t *transform) changesNothing() bool {
	var before []byte
	for v := range 256 {
		b := byte(v)
		before = append(before, b, b, b, 255, b, 0, 0, 255, 0, b, 0, 255, 0, 0, b, 255)
	}
	after := append([]byte(nil), before...)
	t.apply(after)
	for i := range before {
		if before[i] > after[i]+2 && after[i] < 254 || after[i] > before[i]+2 && before[i] < 254 {
			return false
		}
	}
	return true
}

func (m matrix) apply(v vector) (out vector) {
	for i, row := range m {
		out[i] = row[0]*v[0] + row[1]*v[1] + row[2]*v[2]
	}
	return out
}

func (m matrix) transposed() (out matrix) {
	for i := range 9 {
		out[i/3][i%3] = m[i%3][i/3]
	}
	return out
}

func (m matrix) times(n matrix) (out matrix) {
	for i, column := range n.transposed() {
		out[i] = m.apply(column)
	}
	return out.transposed()
}

// inverse is by cofactors. That of a matrix that has none is not finite.
func (m matrix) inverse() (out matrix) {
	for i := range 3 {
		for j := range 3 {
			a, b, c, d := (j+1)%3, (j+2)%3, (i+1)%3, (i+2)%3
			out[i][j] = m[a][c]*m[b][d] - m[a][d]*m[b][c]
		}
	}
	det := m[0][0]*out[0][0] + m[0][1]*out[1][0] + m[0][2]*out[2][0]
	for i := range 9 {
		out[i/3][i%3] /= det
	}
	return out
}
