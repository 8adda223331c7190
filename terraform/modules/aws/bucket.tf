# The bucket holds history that is nowhere else: nothing here ever expires an
# object. Varve deletes what its topics' retention says, and needs no versions,
# which would keep, and bill, what it deleted.
resource "aws_s3_bucket" "tier" {
  # checkov:skip=CKV_AWS_21:Versions would keep what retention deleted; objects are never overwritten.
  # checkov:skip=CKV_AWS_18:Access logs need a second bucket, which is the account's own decision; CloudTrail data events do the same.
  # checkov:skip=CKV_AWS_144:A copy in another region doubles the price of history; it is the owner's decision.
  # checkov:skip=CKV_AWS_145:kms_key_arn is there for those who want a key of their own; the default is encrypted with the key of S3.
  # checkov:skip=CKV2_AWS_62:Nothing listens to events of the bucket.
  count = var.bucket.create ? 1 : 0

  bucket        = var.bucket.name
  force_destroy = var.bucket.force_destroy
  tags          = local.tags
}

resource "aws_s3_bucket_versioning" "tier" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.tier[0].id

  versioning_configuration {
    status = "Disabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "tier" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.tier[0].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "tier" {
  count = var.bucket.create ? 1 : 0

  bucket                  = aws_s3_bucket.tier[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "tier" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.tier[0].id

  rule {
    bucket_key_enabled = var.bucket.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.bucket.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.bucket.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "tier" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.tier[0].id

  rule {
    id     = "abort-incomplete-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arn, "${local.bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "tier" {
  count = var.bucket.create ? 1 : 0

  bucket = aws_s3_bucket.tier[0].id
  policy = data.aws_iam_policy_document.bucket.json

  depends_on = [aws_s3_bucket_public_access_block.tier] # two changes of one bucket at a time are refused
}

locals {
  bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket.name}"
}
