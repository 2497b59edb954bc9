package media

import "encoding/binary"

// orientation is EXIF's: 1 to 8 (Exif 3.0, 4.6.5.1.1). Any other value counts as 1.
type orientation uint16

// swaps says whether width and height change places.
func (o orientation) swaps() bool { return o >= 5 && o <= 8 }

// apply turns and mirrors a picture so that it is as it is shown.
func (o orientation) apply(r raster) raster {
	if o < 2 || o > 8 {
		return r
	}
	made := r
	if o.swaps() {
		made.width, made.height, made.spanX, made.spanY = r.height, r.width, r.spanY, r.spanX
	}
	made.pix = make([]byte, len(r.pix))
	for y := range made.height {
		for x := range made.width {
			fromX, fromY := x, y
			if o.swaps() {
				fromX, fromY = y, x
			}
			// The stored row or column that is shown first is the last one.
			if o == 2 || o == 3 || o == 7 || o == 8 {
				fromX = r.width - 1 - fromX
			}
			if o == 3 || o == 4 || o == 6 || o == 7 {
				fromY = r.height - 1 - fromY
			}
			copy(made.pix[4*(y*made.width+x):][:4], r.pix[4*(fromY*r.width+fromX):][:4])
		}
	}
	return made
}

// readOrientation finds the orientation in EXIF, which is a TIFF file (TIFF 6.0, 2). Of
// what is damaged it is 1: the picture is sound nevertheless.
func readOrientation(exif []byte) orientation {
	if len(exif) >= 6 && string(exif[:6]) == "Exif\x00\x00" {
		exif = exif[6:]
	}
	if len(exif) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(exif[:4]) {
	case "II*\x00":
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(exif[4:]))
	if at+2 > int64(len(exif)) {
		return 1
	}
	const tag, short, entry = 0x0112, 3, 12
	count := int(order.Uint16(exif[at:]))
	for entries := exif[at+2:]; count > 0 && len(entries) >= entry; entries = entries[entry:] {
		if order.Uint16(entries) == tag && order.Uint16(entries[2:]) == short {
			return orientation(order.Uint16(entries[8:]))
		}
		count--
	}
	return 1
}
