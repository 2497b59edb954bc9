package media

import "errors"

var (
	// ErrDamaged means that the file cannot be decoded, from some point on or at all.
	ErrDamaged = errors.New("file is damaged")
	// ErrUnsupported means that the file is sound, but in a codec or layout that is not decoded here.
	ErrUnsupported = errors.New("codec is not supported")
	// ErrTooLarge means that to decode the file would cost more than a file may.
	ErrTooLarge = errors.New("file is too large to decode")
)
