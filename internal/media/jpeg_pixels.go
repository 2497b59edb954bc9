package media

// put makes pixels of the block that was decoded, at a column and row of blocks of plane.
func (j *jpegReader) put(p *jpegPart, column, row int) {
	for i := range p.size * p.size {
		j.block[i] *= p.scale[i&63]
	}
	stride := p.stride * p.size
	p.transformBlock(&j.block, p.plane[row*p.size*stride+column*p.size:], stride)
}

// reconstruct makes a row of MCUs of coefficients that were kept.
func (j *jpegReader) reconstruct(mcu int) error {
	for _, p := range j.parts {
		size := p.size * p.size
		for i := range p.v * p.stride {
			from := p.coefficients[(mcu*p.v*p.stride+i)*size:][:size]
			for k, v := range from {
				j.block[k] = int32(v)
			}
			j.put(p, i%p.stride, i/p.stride)
		}
	}
	return j.emit(mcu)
}

// emit gives a row of MCUs to the canvas.
func (j *jpegReader) emit(mcu int) error {
	high := j.vmax * j.size
	for y := range min(high, j.canvas.fullHeight-mcu*high) {
		var rows [4][]byte
		for i, p := range j.parts {
			row := p.plane[y*p.v*p.size/high*p.stride*p.size:]
			if p.columns != nil {
				for x, column := range p.columns {
					j.rows[i][x] = row[column]
				}
				row = j.rows[i]
			}
			rows[i] = row[:len(j.pixels)/4]
		}
		j.colours(j.pixels, rows)
		if err := j.canvas.put(0, mcu*high+y, 1, j.pixels); err != nil {
			return err
		}
	}
	return nil
}

// converter returns what makes pixels of components. Adobe's segment says how colours are
// stored; without it three are YCbCr, unless they are named R, G and B.
func (j *jpegReader) converter() func(to []byte, rows [4][]byte) {
	p := j.parts
	switch {
	case len(p) == 1:
		return greyPixels
	case len(p) == 3 && (j.adobe == 0 || j.adobe < 0 && p[0].id == 'R' && p[1].id == 'G' && p[2].id == 'B'):
		return rgbPixels
	case len(p) == 3:
		return ycbcrPixels
	}
	return func(to []byte, rows [4][]byte) { cmykPixels(to, rows, j.adobe) }
}

func greyPixels(to []byte, rows [4][]byte) {
	for i, v := range rows[0] {
		pixel := to[4*i:][:4]
		pixel[0], pixel[1], pixel[2], pixel[3] = v, v, v, 255
	}
}

func rgbPixels(to []byte, rows [4][]byte) {
	for i, v := range rows[0] {
		pixel := to[4*i:][:4]
		pixel[0], pixel[1], pixel[2], pixel[3] = v, rows[1][i], rows[2][i], 255
	}
}

// ycbcrPixels is by JFIF: ITU-R BT.601 with all of 0 to 255, in steps of 1/65536.
func ycbcrPixels(to []byte, rows [4][]byte) {
	const shift = 16
	luma := rows[0]
	blue, red := rows[1][:len(luma)], rows[2][:len(luma)]
	for i, y := range luma {
		l := int32(y)<<shift + 1<<(shift-1)
		cb, cr := int32(blue[i])-128, int32(red[i])-128
		pixel := to[4*i:][:4]
		pixel[0] = clamp((l + 91881*cr) >> shift)
		pixel[1] = clamp((l - 22554*cb - 46802*cr) >> shift)
		pixel[2] = clamp((l + 116130*cb) >> shift)
		pixel[3] = 255
	}
}

// cmykPixels makes RGB of ink by the plainest rule, which knows nothing of how ink mixes:
// a profile of CMYK is not followed. Adobe's programs store how much ink is not there.
func cmykPixels(to []byte, rows [4][]byte, adobe int) {
	if adobe == 2 { // the first three as YCbCr, of ink that is there
		ycbcrPixels(to, rows)
	} else {
		rgbPixels(to, rows)
	}
	for i, black := range rows[3] {
		pixel := to[4*i:][:4]
		if adobe < 0 {
			black = 255 - black
		}
		for c, v := range pixel[:3] {
			if adobe != 0 {
				v = 255 - v
			}
			pixel[c] = byte((uint32(v)*uint32(black) + 127) / 255)
		}
	}
}

// inverseOf are the inverse transforms by how many pixels a block becomes each way. Those
// to fewer than 8 take the coefficients of the coarse parts for those of a smaller block.
var inverseOf = map[int]func(block *[65]int32, to []byte, stride int){
	8: inverse8, 4: inverse4, 2: inverse2, 1: inverse1,
}

// √2 cos(kπ/16), in steps of 1/2048. With that factor the transform of one dimension has
// weight 1 for the mean, and two dimensions of it are 8 times too large.
const (
	cosineShift = 11
	cosine1     = 2841
	cosine2     = 2676
	cosine3     = 2408
	cosine5     = 1609
	cosine6     = 1108
	cosine7     = 565
)

const (
	// The first of the two dimensions leaves 3 bits behind the point.
	acrossShift = cosineShift - 3
	downShift   = cosineShift + 3 + 3
	// downRound is a half, and 128, about which the values are.
	downRound = 1<<(downShift-1) + 128<<downShift
)

func inverse1(block *[65]int32, to []byte, _ int) { to[0] = clamp((block[0]+4)>>3 + 128) }

func inverse2(block *[65]int32, to []byte, stride int) {
	top, bottom := block[0]+block[2], block[0]-block[2]
	right, right2 := block[1]+block[3], block[1]-block[3]
	to[0], to[1] = clamp((top+right+4)>>3+128), clamp((top-right+4)>>3+128)
	to[stride], to[stride+1] = clamp((bottom+right2+4)>>3+128), clamp((bottom-right2+4)>>3+128)
}

// four is the transform of four coefficients, its input times 1 << cosineShift.
func four(x0, x1, x2, x3 int32) (a, b, c, d int32) {
	even, even2 := (x0+x2)<<cosineShift, (x0-x2)<<cosineShift
	odd, odd2 := cosine2*x1+cosine6*x3, cosine6*x1-cosine2*x3
	return even + odd, even2 + odd2, even2 - odd2, even - odd
}

func inverse4(block *[65]int32, to []byte, stride int) {
	for i := 0; i < 16; i += 4 {
		row := block[i : i+4]
		a, b, c, d := four(row[0], row[1], row[2], row[3])
		const half = 1 << (acrossShift - 1)
		row[0], row[1], row[2], row[3] = (a+half)>>acrossShift, (b+half)>>acrossShift, (c+half)>>acrossShift, (d+half)>>acrossShift
	}
	to = to[:3*stride+4]
	for i := range 4 {
		a, b, c, d := four(block[i], block[i+4], block[i+8], block[i+12])
		to[i] = clamp((a + downRound) >> downShift)
		to[stride+i] = clamp((b + downRound) >> downShift)
		to[2*stride+i] = clamp((c + downRound) >> downShift)
		to[3*stride+i] = clamp((d + downRound) >> downShift)
	}
}

func inverse8(block *[65]int32, to []byte, stride int) {
	const half = 1 << (acrossShift - 1)
	for i := 0; i < 64; i += 8 {
		row := block[i : i+8 : i+8]
		if row[1]|row[2]|row[3]|row[4]|row[5]|row[6]|row[7] == 0 {
			v := row[0] << 3
			row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7] = v, v, v, v, v, v, v, v
			continue
		}
		a, b, c, d := four(row[0], row[2], row[4], row[6])
		e, f, g, h := odd(row[1], row[3], row[5], row[7])
		row[0], row[7] = (a+e+half)>>acrossShift, (a-e+half)>>acrossShift
		row[1], row[6] = (b+f+half)>>acrossShift, (b-f+half)>>acrossShift
		row[2], row[5] = (c+g+half)>>acrossShift, (c-g+half)>>acrossShift
		row[3], row[4] = (d+h+half)>>acrossShift, (d-h+half)>>acrossShift
	}
	to = to[:7*stride+8]
	for i := range 8 {
		a, b, c, d := four(block[i], block[i+16], block[i+32], block[i+48])
		e, f, g, h := odd(block[i+8], block[i+24], block[i+40], block[i+56])
		to[i], to[7*stride+i] = clamp((a+e+downRound)>>downShift), clamp((a-e+downRound)>>downShift)
		to[stride+i], to[6*stride+i] = clamp((b+f+downRound)>>downShift), clamp((b-f+downRound)>>downShift)
		to[2*stride+i], to[5*stride+i] = clamp((c+g+downRound)>>downShift), clamp((c-g+downRound)>>downShift)
		to[3*stride+i], to[4*stride+i] = clamp((d+h+downRound)>>downShift), clamp((d-h+downRound)>>downShift)
	}
}

// odd is what the coefficients of odd number add to the first four values, and take from
// the last four.
func odd(x1, x3, x5, x7 int32) (a, b, c, d int32) {
	return cosine1*x1 + cosine3*x3 + cosine5*x5 + cosine7*x7,
		cosine3*x1 - cosine7*x3 - cosine1*x5 - cosine5*x7,
		cosine5*x1 - cosine1*x3 + cosine7*x5 + cosine3*x7,
		cosine7*x1 - cosine5*x3 + cosine3*x5 - cosine1*x7
}
