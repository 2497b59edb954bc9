package server

import (
	"strings"
	"testing"
)

func TestFormatOf(t *testing.T) {
	t.Parallel()
	const (
		wav = "RIFF\x24\x00\x00\x00WAVEfmt "
		m4a = "\x00\x00\x00\x1cftypM4A \x00\x00\x02\x00M4A mp42isom"
		mp4 = "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00mp42iso2moov" // walkM4A tells whether it is sound
	)
	for _, test := range []struct{ head, name, declared, want string }{
		{"\x89PNG\r\n\x1a\n", "a.png", "image/png", "PNG"},
		{"\x89PNG\r\n\x1a\n", "a.PNG", "", "PNG"},
		{"\x89PNG\r\n\x1a\n", "a", "application/octet-stream", "PNG"},
		{"\x89PNG\r\n\x1a\n", "a.png", "image/png; x=1", "PNG"},
		{"\xff\xd8\xff\xe0", "a.jpg", "image/jpeg", "JPEG"},
		{"\xff\xd8\xff\xe1", "a.jpeg", "image/jpg", "JPEG"},
		{"GIF87a", "a.gif", "image/gif", "GIF"},
		{"GIF89a", "a.gif", "image/gif", "GIF"},
		{"RIFF\x24\x00\x00\x00WEBPVP8 ", "a.webp", "image/webp", "WebP"},
		{wav, "a.wav", "audio/x-wav", "WAV"},
		{"OggS\x00\x02", "a.ogg", "application/ogg", "Ogg"},
		{"OggS\x00\x02", "a.opus", "audio/opus", "Ogg"},
		{"fLaC\x00", "a.flac", "audio/flac", "FLAC"},
		{"ID3\x04\x00", "a.mp3", "audio/mpeg", "MP3"},
		{"\xff\xfb\x90\x64", "a.mp3", "audio/mp3", "MP3"},
		{"\xff\xf3\x40\xc0", "a.mp3", "audio/mpeg", "MP3"},
		{m4a, "a.m4a", "audio/x-m4a", "M4A"},
		{"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomM4A mp42", "a.m4a", "audio/mp4", "M4A"},

		{mp4, "a.m4a", "", "M4A"},
		{m4a, "a.m4a", "audio/mp4a-latm", "M4A"},
		{"\x89PNG\r\n\x1a\n", "hero v1.2", "image/x-png", "PNG"},
		{"\x89PNG\r\n\x1a\n", "hero v1.2 final", "binary/octet-stream", "PNG"},
		{"\x89PNG\r\n\x1a\n", "a.png", "image/apng", "PNG"},
		{"OggS\x00\x02", "a.ogg", "video/ogg", "Ogg"},
		{"OggS\x00\x02", "a.ogg", "audio/x-ogg", "Ogg"},
		{"OggS\x00\x02", "a.ogg", "application/x-ogg", "Ogg"},
		{"ID3\x04\x00", "a.flac", "audio/flac", "FLAC"},

		{"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "a.heic", "image/heic", ""},
		{"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  ", "a.mov", "video/quicktime", ""},
		{"\xff\xf1\x50\x80", "a.aac", "audio/aac", ""},
		{"\xff\xff\xff\xff", "a.mp3", "", ""},
		{"\xff\xfb\x00", "a.mp3", "", ""},
		{"<svg xmlns=", "a.svg", "image/svg+xml", ""},
		{"<?xml version", "a.png", "image/png", ""},
		{"<!DOCTYPE html>", "a.html", "text/html", ""},
		{"%PDF-1.7", "a.pdf", "application/pdf", ""},
		{"BM\x00\x00", "a.bmp", "image/bmp", ""},
		{"PK\x03\x04", "a.zip", "application/zip", ""},
		{"MZ", "a.exe", "", ""},
		{"RIFF\x24\x00\x00\x00AVI LIST", "a.wav", "", ""},
		{"RIFF", "a.wav", "", ""},
		{"\x89PNG", "a.png", "", ""},
		{"\x89PNG\r\n\x1a\n", "a.jpg", "", ""},
		{"\x89PNG\r\n\x1a\n", "a.png.html", "", ""},
		{"\x89PNG\r\n\x1a\n", "a.png", "image/svg+xml", ""},
		{"\x89PNG\r\n\x1a\n", "a.png", "nonsense/", ""},
		{wav, "a.mp3", "", ""},
		{wav, "a.wav", "audio/mpeg", ""},
	} {
		format, err := formatOf([]byte(test.head), test.name, test.declared)
		if format.name != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q %s %s: %q, %v; want %q", test.head, test.name, test.declared, format.name, err, test.want)
		}
		if err != nil && (problemOf(err).code != "INVALID_FILE_TYPE" || strings.TrimSpace(problemOf(err).details[0].Message) == "") {
			t.Errorf("%q %s: %v", test.head, test.name, err)
		}
	}
}
