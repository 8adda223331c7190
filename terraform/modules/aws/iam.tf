# One role for each broker, because each may read only its own private key.
data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

locals {
  # What a broker reads at boot and then now and again.
  secrets = { for id in local.ids : id => var.tls == null ? [] : [var.tls.keystore_arns[id], var.tls.truststore_arn] }
  secret_reads = [
    { sid = "Secrets", service = "secretsmanager", action = "secretsmanager:GetSecretValue" },
    { sid = "Parameters", service = "ssm", action = "ssm:GetParameter" },
  ]
}

data "aws_iam_policy_document" "broker" {
  for_each = var.brokers

  # The check of the bucket at start (HeadBucket) needs ListBucket on all of it: that request has no prefix to be limited by.
  statement {
    sid       = "Bucket"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]
  }
  statement {
    sid       = "Objects"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${local.bucket_arn}/${var.bucket.prefix}/*"]
  }

  dynamic "statement" {
    for_each = var.bucket.kms_key_arn == null ? [] : [var.bucket.kms_key_arn]

    content {
      sid       = "ObjectKey"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
  dynamic "statement" {
    for_each = startswith(var.binary.url, "s3://") ? [trimprefix(var.binary.url, "s3://")] : []

    content {
      sid       = "Binary"
      actions   = ["s3:GetObject"]
      resources = ["arn:${data.aws_partition.current.partition}:s3:::${statement.value}"]
    }
  }
  dynamic "statement" {
    for_each = [for read in local.secret_reads : read if contains([for arn in local.secrets[each.key] : split(":", arn)[2]], read.service)]
    iterator = read

    content {
      sid       = read.value.sid
      actions   = [read.value.action]
      resources = [for arn in local.secrets[each.key] : arn if split(":", arn)[2] == read.value.service]
    }
  }
  dynamic "statement" {
    for_each = var.tls == null ? [] : length(var.tls.kms_key_arns) == 0 ? [] : [var.tls.kms_key_arns]

    content {
      sid       = "SecretKeys"
      actions   = ["kms:Decrypt"]
      resources = statement.value
    }
  }
}

resource "aws_iam_role" "broker" {
  for_each = var.brokers

  name               = "${var.name}-broker-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "broker" {
  for_each = var.brokers

  name   = "varve"
  role   = aws_iam_role.broker[each.key].id
  policy = data.aws_iam_policy_document.broker[each.key].json
}

resource "aws_iam_role_policy_attachment" "more" {
  for_each = { for pair in setproduct(keys(var.brokers), keys(var.iam_policy_arns)) : "${pair[0]}-${pair[1]}" => pair }

  role       = aws_iam_role.broker[each.value[0]].name
  policy_arn = var.iam_policy_arns[each.value[1]]
}

resource "aws_iam_instance_profile" "broker" {
  for_each = var.brokers

  name = "${var.name}-broker-${each.key}"
  role = aws_iam_role.broker[each.key].name
  tags = local.tags
}
