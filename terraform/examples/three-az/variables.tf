variable "region" {
  description = "Region of everything, the bucket of the binary included."
  type        = string
  default     = "eu-central-1"
}

variable "availability_zones" {
  description = "The three zones of the brokers."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]

  validation {
    condition     = length(distinct(var.availability_zones)) == 3
    error_message = "availability_zones must be three different zones."
  }
}

variable "domain" {
  description = "Private DNS domain that is made for the brokers."
  type        = string
  default     = "varve.internal"
}

variable "keystore_arns" {
  description = "By node id, \"1\" to \"3\": ARN of the secret of Secrets Manager that has the broker's private key and certificate, in PEM."
  type        = map(string)
}

variable "truststore_arn" {
  description = "ARN of the secret that has the authorities, in PEM."
  type        = string
}

variable "name" {
  description = "Name of the cluster."
  type        = string
  default     = "varve"
}

variable "bucket_name" {
  description = "Name of the bucket that is made for the remote tier."
  type        = string
}

variable "binary" {
  description = "Where the varve binary is: s3://BUCKET/KEY in the same region, and its sha256."
  type        = object({ url = string, sha256 = string })
}

variable "ami_id" {
  description = "Image of the brokers; null: the newest Amazon Linux 2023."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether instances are protected from being deleted by others than Terraform."
  type        = bool
  default     = true
}
