module github.com/assetplatform/assetplatform/hack/images/pause

go 1.26
