package media

// Scans of progressive files give some bits of some coefficients (ITU-T T.81, G.1.2). What
// is kept of them is as little as of other files, and of the rest, whether it is zero: on
// that it depends what later scans mean.

// firstDC decodes the higher bits of a block's mean.
func (j *jpegReader) firstDC(p *jpegPart, at int, s *jpegScan) error {
	if j.bits.count < 32 {
		j.bits.fill()
	}
	length := int(j.bits.symbol(p.dc))
	if length > 15 {
		return errScan
	}
	p.predicted += j.bits.signed(length)
	p.coefficients[at*p.size*p.size] = int16(p.predicted << s.low)
	return nil
}

// firstAC decodes the higher bits of other coefficients.
func (j *jpegReader) firstAC(p *jpegPart, at int, s *jpegScan) error {
	if j.eobRun > 0 {
		j.eobRun--
		return nil
	}
	b := &j.bits
	for k := s.first; k <= s.last; k++ {
		if b.count < 32 {
			b.fill()
		}
		symbol := int(b.symbol(p.ac))
		run, n := symbol>>4, symbol&15
		if n == 0 {
			if run < 15 {
				j.eobRun = 1<<run + b.number(run) - 1
				return nil
			}
			k += 15
			continue
		}
		if k += run; k > s.last {
			return errScan
		}
		p.set(at, k, b.signed(n)<<s.low)
	}
	return nil
}

// set stores a coefficient that is not zero.
func (p *jpegPart) set(at, k int, v int32) {
	p.nonzero[at] |= 1 << k
	if place := int(p.keep[k]); place < 64 {
		p.coefficients[at*p.size*p.size+place] = int16(v)
	}
}

// refineAC decodes a further bit of coefficients, and those that were zero until then.
func (j *jpegReader) refineAC(p *jpegPart, at int, s *jpegScan) error {
	b, k := &j.bits, s.first
	for j.eobRun == 0 && k <= s.last {
		if b.count < 32 {
			b.fill()
		}
		symbol := int(b.symbol(p.ac))
		run, v := symbol>>4, int32(0)
		switch symbol & 15 {
		case 0:
			if run < 15 {
				j.eobRun = 1<<run + b.number(run)
			}
		case 1:
			v = -1 << s.low
			if b.bit() {
				v = 1 << s.low
			}
		default:
			return errScan
		}
		if j.eobRun > 0 {
			break
		}
		k = j.refineNonzero(p, at, k, run, s)
		if v != 0 {
			if k > s.last {
				return errScan
			}
			p.set(at, k, v)
		}
		k++
	}
	if j.eobRun > 0 {
		j.refineNonzero(p, at, k, 64, s)
		j.eobRun--
	}
	return nil
}

// refineNonzero decodes the bits of coefficients that are not zero from k on, and returns
// where the one is that comes after so many that are.
func (j *jpegReader) refineNonzero(p *jpegPart, at, k, zeros int, s *jpegScan) int {
	nonzero := p.nonzero[at]
	if nonzero>>k == 0 {
		return min(k+zeros, s.last+1)
	}
	for ; k <= s.last; k++ {
		if nonzero>>k&1 == 0 {
			if zeros == 0 {
				break
			}
			zeros--
			continue
		}
		if !j.bits.bit() || p.keep[k] >= 64 {
			continue
		}
		if c := &p.coefficients[at*p.size*p.size+int(p.keep[k])]; *c >= 0 {
			*c += 1 << s.low
		} else {
			*c -= 1 << s.low
		}
	}
	return k
}
