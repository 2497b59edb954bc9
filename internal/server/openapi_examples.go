package server

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/assetplatform/assetplatform/internal/store"
)

// giveExamples puts examples into the schemas of which a client sees most. What answers hold is made of the types that are sent.
func giveExamples(schemas huma.Registry) {
	known := schemas.Map()
	for name, example := range answerExamples() {
		known[name].Examples = []any{example}
	}
	for name, example := range requestExamples {
		known[name].Examples = []any{example}
	}
}

// requestExamples are bodies of requests, by schema.
var requestExamples = map[string]any{
	"RegisterRequestBody":      object{"email": "ada@example.com", "username": "ada", "password": "correct horse battery"},
	"LoginRequestBody":         object{"username": "ada", "password": "correct horse battery"},
	"RefreshRequestBody":       object{"refreshToken": "the refreshToken of the last answer"},
	"CreateAPIKeyRequestBody":  object{"name": "build server", "scopes": []string{"read", "write"}, "expiresAt": "2027-01-31T18:00:00Z"},
	"UpdateAssetRequestBody":   object{"originalName": "hero-2.png", "tags": []string{"hero", "red"}, "category": nil},
	"BulkRequestBody":          object{"ids": []string{exampleAsset}, "addTags": []string{"hero"}, "removeTags": []string{"draft"}, "partial": true},
	"CreateProjectRequestBody": object{"name": "Village", "description": "The first level."},
	"AddToProjectRequestBody":  object{"assetIds": []string{exampleAsset}},
	"AddMemberRequestBody":     object{"username": "grace", "role": "editor"},
}

type object = map[string]any

// Ids in examples.
const (
	exampleAsset   = "019a3b5e-7c41-7d20-9a51-0c6f2f1d3e01"
	exampleUser    = "019a3b5e-1a10-7b02-8f4e-5d2c9b7a6e02"
	exampleProject = "019a3b5f-0b77-7e31-b6a0-7e8d1c4f5a03"
	exampleUpload  = "019a3b60-22c8-7f14-a3d9-3b1a8e6d9c04"
)

// answerExamples are bodies of answers, by schema.
func answerExamples() map[string]any {
	at := time.Date(2026, 1, 31, 18, 0, 0, 0, time.UTC)
	image := store.ImageMetadata{Width: new(512), Height: new(256), Format: new("png"), HasAlpha: new(true), Palette: []string{"#c02020", "#202020"}, Frames: new(1)}
	sound := store.AudioMetadata{Duration: new(1.5), Bitrate: new(int64(705600)), SampleRate: new(44100), Channels: new(1), Format: new("wav"), Waveform: []float64{0, 0.8, 0.3, 0.1}}
	metadata, _ := json.Marshal(image) // plain values
	asset := assetBodyOf(store.Asset{
		ID: uuid.MustParse(exampleAsset), UserID: uuid.MustParse(exampleUser), OriginalName: "hero.png", FileType: store.Image, MIMEType: "image/png",
		FileSize: 20480, SHA256: [32]byte{0xc0, 0xff, 0xee}, Version: 1, Tags: []string{"hero", "red"}, Category: new("characters"), Metadata: metadata,
		HasThumbnail: true, ProjectIDs: []uuid.UUID{uuid.MustParse(exampleProject)}, CreatedAt: at, UpdatedAt: at,
	})
	first := PageQuery{Limit: 20}.describe(0, store.Total{Rows: 1}, nil)
	project := projectBody{
		uuid.MustParse(exampleProject), uuid.MustParse(exampleUser), "Village", "The first level.", store.AccessOwner, projectCountsBody{Assets: 1}, at, at,
	}
	session := sessionBody{
		User:        UserBody{uuid.MustParse(exampleUser), "ada@example.com", "ada", store.RoleUser, at},
		AccessToken: "(a JWT)", RefreshToken: "(a text)", ExpiresIn: int(accessLifetime.Seconds()),
	}
	return map[string]any{
		"ImageMetadata": image, "AudioMetadata": sound,
		"AssetBody": asset, "AssetAnswerBody": dataOf(asset).Body, "AssetEnvelope": dataOf(asset).Body,
		"ListAssetBodyBody":   listOf([]assetBody{asset}, itself, first).Body,
		"DataSessionBodyBody": dataOf(session).Body,
		"ProjectAnswerBody":   dataOf(project).Body,
		"ListProjectBodyBody": listOf([]projectBody{project}, itself, first).Body,
		"UploadBody":          uploadBody{uuid.MustParse(exampleUpload), "UPLOADING", 4 << 20, 10 << 20, nil, at},
		"ErrorBody": &errorBody{
			Info:      errorInfo{"VALIDATION_ERROR", "Correct the fields named in details.", []detail{{"limit", "expected number <= 100"}}},
			Timestamp: at, Path: "/api/assets", RequestID: "5b0f6c0e-8a53-4b7e-9c1d-2f3a4b5c6d7e",
		},
	}
}

func itself[T any](item T) T { return item }
